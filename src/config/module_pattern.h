// Patterns of module names, as PEFT matches them: Python's regular expressions, in the syntax that
// they share with ECMAScript's.
#pragma once

#include <optional>
#include <regex>
#include <string>

namespace trireme::config {

// re.fullmatch: the pattern describes whole names. Matching takes time linear in the name.
class ModulePattern {
 public:
  // UserError that begins with `where`: what is no regular expression, is too long, or asks for
  // what is not built (look-behind, references to groups, flags).
  ModulePattern(const std::string& text, const std::string& where);
  bool matches(const std::string& name) const;

 private:
  std::regex regex_;
};

// Whether the text is more than a name with dots: only then is a target_modules in one string a
// pattern.
bool is_pattern(const std::string& text);

// A key of rank_pattern or alpha_pattern: re.match(rf"(.*\.)?({key})$", name), so that it describes
// a name or its end behind a dot. A dot in it stands for any character.
class ModuleKey {
 public:
  ModuleKey(const std::string& text, const std::string& where);
  bool matches(const std::string& name) const;

 private:
  std::string text_;
  std::optional<ModulePattern> pattern_;  // where it is more than a name: names are many
};

}  // namespace trireme::config
