#include "dist/watch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "dist/board.h"

namespace trireme::dist {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{50};  // between looks at the board by who waits for it

std::string name_of(int64_t rank, const std::string& host) {
  return fmt::format("rank {}{}{}", rank, host.empty() ? "" : " on ", host);
}

std::string last_seen(const Pulse& pulse) {
  return pulse.where.empty() ? "" : ", last seen at " + pulse.where;
}

// Repeats the question until there is an answer or the time is over.
template <typename Ask>
auto ask_until(Clock::time_point end, const Ask& ask) {
  auto answer = ask();
  while (!answer && Clock::now() < end) {
    std::this_thread::sleep_for(kLook);
    answer = ask();
  }
  return answer;
}

}  // namespace

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "an unknown host";
}

struct Watch::State {
  State(Watch& owner, const config::Launch& from, StorePtr store, const Pace& at_pace,
        Failed on_failure)
      : watch(owner),
        launch(from),
        board(std::move(store)),
        pace(at_pace),
        failed(std::move(on_failure)) {}

  // Called on the watch's thread only.
  void serve();
  std::optional<std::string> look();
  std::optional<std::string> look_at_board();
  bool all_say(const std::string& words) const;
  std::string culprit(const std::vector<int64_t>& group) const;
  std::optional<std::string> who_is_missing(const std::vector<int64_t>& group,
                                            const std::vector<Pulse>& before) const;
  void see_others_leave() const;

  // Called on any thread. ask() answers directly on the watch's thread.
  std::string where();
  std::string name() const { return name_of(launch.rank, host); }
  bool holds_store() const { return launch.rank == 0 && !launch.agent_store; }
  std::string store_is_gone() const;
  template <typename T>
  std::optional<T> ask(std::chrono::milliseconds limit, std::function<T()> question);

  Watch& watch;
  const config::Launch launch;
  const Board board;
  const Pace pace;
  const Failed failed;
  const std::string host = host_name();

  // Only the watch's thread uses these.
  int64_t beats = 0, missed = 0;
  Pulse next;  // the last one read of the next rank
  std::atomic<std::thread::id> thread;

  std::mutex mutex;
  std::condition_variable changed;
  std::function<std::string()> location;
  std::string last_where = "start";
  std::function<void()> job;  // for the watch's thread, which alone talks to the store
  bool stopped = false;       // the rank ends, by itself or by the watch
  bool ending = false;        // the watch is about to end the process
  bool done = false;          // the thread is not needed any more
  bool finished = false;      // it has returned
};

std::string Watch::State::where() {
  const std::lock_guard lock(mutex);
  return location ? location() : last_where;
}

std::string Watch::State::store_is_gone() const {
  if (launch.agent_store) return "the launcher is gone: its store does not answer";
  return "rank 0 is gone or hangs: the store that it holds does not answer";
}

std::optional<std::string> Watch::State::look_at_board() {
  board.beat(launch.rank, {std::to_string(beats++), host, where()});
  if (const auto failure = board.failure()) return failure;
  const int64_t neighbour = (launch.rank + 1) % launch.ranks;
  const Pulse heard = board.pulse(neighbour).value_or(Pulse{});
  missed = heard.beat == next.beat ? missed + 1 : 0;
  next = heard;
  if (missed < pace.missed_beats) return std::nullopt;
  const auto silence = std::chrono::duration_cast<std::chrono::seconds>(missed * pace.beat);
  return board.report_failure(fmt::format("{} gave no sign of life for {} s{}",
                                          name_of(neighbour, heard.host), silence.count(),
                                          last_seen(heard)));
}

std::optional<std::string> Watch::State::look() {
  try {
    return look_at_board();
  } catch (const std::exception&) {
    return store_is_gone();
  }
}

void Watch::State::serve() {
  thread = std::this_thread::get_id();
  std::optional<std::string> failure;
  Clock::time_point patience;  // until then this rank may stop by itself
  std::unique_lock lock(mutex);
  while (!done) {
    if (job) {
      const std::function<void()> work = std::exchange(job, nullptr);
      lock.unlock();
      work();
      lock.lock();
    } else if (!stopped && !failure) {
      lock.unlock();
      failure = look();
      lock.lock();
      patience = Clock::now() + pace.moment;
    } else if (!stopped && Clock::now() >= patience) {
      stopped = ending = true;
      lock.unlock();
      failed(watch, *failure);
      lock.lock();
      ending = false;
      changed.notify_all();
    }
    changed.wait_for(lock, pace.beat, [&] { return done || job; });
  }
  finished = true;
  changed.notify_all();
}

// Asks the store on the watch's thread. nullopt: no answer, or none in time.
template <typename T>
std::optional<T> Watch::State::ask(std::chrono::milliseconds limit, std::function<T()> question) {
  const auto carefully = [question = std::move(question)]() -> std::optional<T> {
    try {
      return question();
    } catch (const std::exception&) {
      return std::nullopt;
    }
  };
  if (std::this_thread::get_id() == thread) return carefully();
  const auto answer = std::make_shared<std::optional<std::optional<T>>>();
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return !ending; });
  stopped = true;
  job = [this, answer, carefully] {
    const std::optional<T> found = carefully();
    const std::lock_guard lock(mutex);
    *answer = found;
    changed.notify_all();
  };
  changed.notify_all();
  changed.wait_for(lock, limit, [&] { return answer->has_value(); });
  return answer->value_or(std::nullopt);
}

bool Watch::State::all_say(const std::string& words) const {
  const auto end = Clock::now() + pace.moment;
  for (int64_t rank = 0; rank < launch.ranks; ++rank) {
    if (ask_until(end, [&] { return board.last_words(rank); }) != words) return false;
  }
  return true;
}

std::optional<std::string> Watch::State::who_is_missing(const std::vector<int64_t>& group,
                                                        const std::vector<Pulse>& before) const {
  std::vector<std::string> gone, busy;
  for (size_t i = 0; i < group.size(); ++i) {
    if (board.last_words(group[i])) continue;
    const Pulse now = board.pulse(group[i]).value_or(Pulse{});
    const std::string name = name_of(group[i], now.host);
    if (now.beat == before[i].beat) {
      gone.push_back(name + " is gone or hangs" + last_seen(now));
    } else {
      busy.push_back(name + " did not come: it is at " + now.where);
    }
  }
  if (gone.empty() && busy.empty()) return std::nullopt;
  return fmt::format("{}", fmt::join(gone.empty() ? busy : gone, "; "));
}

std::string Watch::State::culprit(const std::vector<int64_t>& group) const {
  board.report_last_words(launch.rank, "a collective failed");
  std::vector<Pulse> before;
  for (const int64_t rank : group) before.push_back(board.pulse(rank).value_or(Pulse{}));
  const auto look = [&] { return board.failure(); };
  if (const auto failure = ask_until(Clock::now() + pace.moment, look)) return *failure;
  if (const auto missing = who_is_missing(group, before)) return board.report_failure(*missing);
  // All ranks of the group have stopped: a rank of another group knows why.
  return ask_until(Clock::now() + pace.moment, look).value_or("no rank says why");
}

void Watch::State::see_others_leave() const {
  const auto end = Clock::now() + 2 * pace.moment;
  ask_until(end, [&] { return board.left(launch.ranks); });
}

Watch::Watch(const config::Launch& launch, StorePtr store, const Pace& pace, Failed failed)
    : state_(std::make_shared<State>(*this, launch, std::move(store), pace, std::move(failed))) {
  std::thread([state = state_] { state->serve(); }).detach();
}

Watch::~Watch() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [&] { return !state_->ending; });
  state_->done = true;
  state_->changed.notify_all();
  state_->changed.wait_for(lock, state_->pace.moment, [&] { return state_->finished; });
}

std::string Watch::name() const { return state_->name(); }
std::string Watch::where() const { return state_->where(); }

Watch::LocationScope::LocationScope(Watch* watch, std::function<std::string()> where)
    : watch_(watch) {
  if (!watch_) return;
  const std::lock_guard lock(watch_->state_->mutex);
  watch_->state_->location = std::move(where);
}

Watch::LocationScope::~LocationScope() {
  if (!watch_) return;
  State& state = *watch_->state_;
  const std::lock_guard lock(state.mutex);
  state.last_where = state.location();
  state.location = nullptr;
}

bool Watch::stop(const std::string& words) {
  State* state = state_.get();
  const std::string sentence = fmt::format("{} failed first, at {}: {}", name(), where(), words);
  return state
      ->ask<bool>(3 * state->pace.moment,
                  [state, words, sentence] {
                    state->board.report_failure(sentence);
                    state->board.report_last_words(state->launch.rank, words);
                    return state->all_say(words);
                  })
      .value_or(false);
}

std::string Watch::stop(const PeerFailure& failure) {
  State* state = state_.get();
  return state
      ->ask<std::string>(4 * state->pace.moment,
                         [state, ranks = failure.ranks()] { return state->culprit(ranks); })
      .value_or(state->store_is_gone());
}

void Watch::leave() {
  State* state = state_.get();
  const auto go = [state] {
    state->board.leave(state->launch.rank);
    if (state->holds_store()) state->see_others_leave();
    return true;
  };
  state->ask<bool>((state->holds_store() ? 3 : 1) * state->pace.moment, go);
}

}  // namespace trireme::dist
