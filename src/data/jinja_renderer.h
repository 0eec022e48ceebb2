// One rendering: its variables by scope, its output, and how much it may still do.
#pragma once

#include <cstdint>
#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/jinja_nodes.h"
#include "data/jinja_parser.h"

namespace trireme::data::jinja {

// A template is outside input: what it may do is bounded.
struct Bounds {
  int64_t steps = 5'000'000;  // nodes evaluated, items made, and each 32 bytes of a string made
  int depth = 1000;           // of nodes within nodes, through macros
};

class Renderer {
 public:
  Renderer(const Program& program, std::time_t now, const Bounds& bounds);
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  void set(const std::string& name, Value value);
  Text run();

  size_t at() const { return at_; }  // the node that was evaluated last
  std::time_t now() const { return now_; }

  Value eval(const Expr& expr);
  Flow exec(const Statement& statement);
  Flow exec(const Body& body);
  // The same where break and continue cannot leave.
  void exec_all(const Body& body);

  void charge(int64_t steps);
  void charge_bytes(size_t bytes) { charge(static_cast<int64_t>(bytes / 32)); }

  // Output.
  void write(const Text& text);
  void write(const std::string& own);
  template <typename Write>
  Text captured(const Write& run) {
    Text buffer;
    Text* before = std::exchange(out_, &buffer);
    const Restore<Text*> restore(out_, before);
    run();
    return buffer;
  }

  // Variables.
  Value lookup(Symbol symbol);
  void assign(Symbol symbol, Value value);
  // Runs with variables of its own, which end with it.
  template <typename Run>
  auto scoped(const Run& run) {
    const Entered entered(*this, scope_);
    return run();
  }

  // Variables that end with the run keep for `macro`, which may outlive them.
  Value make_macro(const MacroBody& macro);
  Value call(const Value& callee, const Arguments& arguments);
  Value make_namespace(Dict attributes);

 private:
  struct Scope {
    Scope* outer = nullptr;
    bool kept = false;  // a macro refers to it
    std::vector<std::pair<Symbol, Value>> values;
  };

  template <typename T>
  struct Restore {
    Restore(T& where, T what) : place(where), value(std::move(what)) {}
    ~Restore() { place = value; }
    Restore(const Restore&) = delete;
    Restore& operator=(const Restore&) = delete;
    T& place;
    T value;
  };

  class Entered {
   public:
    Entered(Renderer& renderer, Scope* outer);
    ~Entered();
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;

   private:
    Renderer& renderer_;
    Scope* before_;
    std::unique_ptr<Scope> scope_;
  };

  class Deeper;

  Text run_macro(const MacroBody& macro, Scope* outer, const Arguments& arguments);
  void bind_parameters(const MacroBody& macro, const Arguments& arguments);

  const Program& program_;
  std::time_t now_;
  Bounds bounds_;
  int64_t steps_left_;
  int depth_ = 0;
  size_t at_ = 0;
  Text* out_ = nullptr;
  Scope globals_;
  Scope* scope_ = &globals_;
  std::vector<std::unique_ptr<Scope>> kept_;
  std::vector<std::shared_ptr<Namespace>> spaces_;  // may hold themselves
};

}  // namespace trireme::data::jinja
