// The prompt of a sample: one system message of sections with an empty line between them, in
// Chinese, as the models fine-tuned by the earlier pipeline know it.
//
//   simple                                       detailed
//   用户: <name>                                 【用户】
//                                                用户: <name>
//   历史影评记录 (N条):
//     电影《<film>》(4星): <review>              【历史影评】
//     ...                                        历史影评记录 (N条):
//                                                  2015-05-13 电影《<film>》(4星): <review>
//   模仿用户风格为电影《<film>》写一条影评：       ...
//
//                                                【当前影片】
//                                                电影《<film>》
//                                                时间: 2015-06-01
//
//                                                模仿用户风格为电影《<film>》写一条影评：
//
// Sections that the ablation leaves out, or that would be empty, are not there; the request always
// is. Line breaks inside names, titles and shown reviews become spaces, so that a review in the
// history is one line.
#pragma once

#include <cstdint>
#include <string>

#include "config/run_config.h"
#include "data/review.h"
#include "data/sample.h"

namespace trireme::data {

class PromptWriter {
 public:
  // Both outlive the writer.
  PromptWriter(const ReviewSet& reviews, const config::SampleOptions& options);

  // Reviews that may be shown before this one: all earlier ones, or 0 by the ablation.
  int64_t history_size(SampleRef ref) const;
  // Turns of the sample's context that may be shown: at most max_context_turns, or 0 by the
  // ablation.
  int64_t context_size(SampleRef ref) const;

  // A review as a line of the history, with its line break.
  std::string history_line(const Review& review) const;

  // The message with the last `history` reviews and the last `context` turns.
  std::string text(SampleRef ref, int64_t history, int64_t context) const;

 private:
  const User& user(SampleRef ref) const { return reviews_.users[ref.user]; }
  const Review& review(SampleRef ref) const { return user(ref).reviews[ref.review]; }
  std::string profile_section(SampleRef ref) const;
  std::string history_section(SampleRef ref, int64_t shown) const;
  std::string context_section(SampleRef ref, int64_t shown) const;
  std::string film_section(SampleRef ref) const;

  const ReviewSet& reviews_;
  const config::SampleOptions& options_;
  bool detailed_;
  bool ratings_;
};

}  // namespace trireme::data
