#include "data/prompt.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "base/error.h"
#include "data/review_text.h"

namespace trireme::data {
namespace {

// Chinese names of the profile fields that data sets of this schema are known to have.
std::string_view label(std::string_view key) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kLabels = {
      {{"age", "年龄"},
       {"gender", "性别"},
       {"profession", "职业"},
       {"dimensions", "画像"},
       {"unstructured", "自述"}}};
  const auto known = std::ranges::find(kLabels, key, [](const auto& entry) { return entry.first; });
  return known == kLabels.end() ? key : known->second;
}

bool shows_ratings(const ReviewSet& reviews, const config::SampleOptions& options) {
  if (options.show_ratings == config::ShowRatings::kAuto) return reviews.has_stars;
  return options.show_ratings == config::ShowRatings::kOn;
}

}  // namespace

PromptWriter::PromptWriter(const ReviewSet& reviews, const config::SampleOptions& options)
    : reviews_(reviews),
      options_(options),
      detailed_(options.prompt_style == config::PromptStyle::kDetailed),
      ratings_(shows_ratings(reviews, options)) {}

int64_t PromptWriter::history_size(SampleRef ref) const {
  return options_.ablation.use_history ? ref.review : 0;
}

int64_t PromptWriter::context_size(SampleRef ref) const {
  const auto turns = static_cast<int64_t>(review(ref).context.size());
  return options_.ablation.use_context ? std::min(turns, options_.max_context_turns) : 0;
}

std::string PromptWriter::history_line(const Review& review) const {
  const std::string date = detailed_ ? review.date + " " : "";
  const std::string stars = ratings_ && review.stars ? fmt::format("({}星)", *review.stars) : "";
  return fmt::format("  {}电影《{}》{}: {}\n", date, one_line(review.film), stars,
                     one_line(review.text));
}

std::string PromptWriter::profile_section(SampleRef ref) const {
  if (!options_.ablation.use_profile) return "";
  std::string section = fmt::format("用户: {}", one_line(user(ref).name));
  for (const auto& [key, value] : user(ref).profile) {
    section += fmt::format("\n{}: {}", label(key), one_line(value));
  }
  return detailed_ ? "【用户】\n" + section : section;
}

std::string PromptWriter::history_section(SampleRef ref, int64_t shown) const {
  if (shown == 0) return "";
  std::string section =
      fmt::format("{}历史影评记录 ({}条):\n", detailed_ ? "【历史影评】\n" : "", shown);
  for (int64_t i = ref.review - shown; i < ref.review; ++i)
    section += history_line(user(ref).reviews[i]);
  section.pop_back();
  return section;
}

std::string PromptWriter::context_section(SampleRef ref, int64_t shown) const {
  const std::vector<Turn>& turns = review(ref).context;
  if (!options_.ablation.use_context || turns.empty()) return "";
  std::string section = detailed_ ? "【对话】\n对话记录:" : "对话记录:";
  if (const size_t left_out = turns.size() - shown; left_out > 0) {
    section += fmt::format("\n（前面省略了 {} 轮对话，以下是最近的 {} 轮）", left_out, shown);
  }
  for (size_t i = turns.size() - shown; i < turns.size(); ++i) {
    const std::string who = turns[i].role.empty() ? "" : one_line(turns[i].role) + ": ";
    section += fmt::format("\n  {}{}", who, one_line(turns[i].content));
  }
  return section;
}

std::string PromptWriter::film_section(SampleRef ref) const {
  if (!detailed_) return "";
  std::string section = fmt::format("【当前影片】\n电影《{}》", one_line(review(ref).film));
  if (!review(ref).date.empty()) section += "\n时间: " + review(ref).date;
  return section;
}

std::string PromptWriter::text(SampleRef ref, int64_t history, int64_t context) const {
  std::string message;
  for (const std::string& section : {profile_section(ref), history_section(ref, history),
                                     context_section(ref, context), film_section(ref)}) {
    if (!section.empty()) message += section + "\n\n";
  }
  return message + fmt::format("模仿用户风格为电影《{}》写一条影评：", one_line(review(ref).film));
}

std::vector<Turn> prompt_messages(const ReviewSet& reviews, SampleRef ref,
                                  const config::SampleOptions& options) {
  const PromptWriter writer(reviews, options);
  return {{"system", writer.text(ref, writer.history_size(ref), writer.context_size(ref))}};
}

}  // namespace trireme::data
