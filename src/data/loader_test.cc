#include "data/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace trireme::data {
namespace {

std::vector<data::TokenizedSample> make_samples(int64_t count) {
  std::vector<data::TokenizedSample> samples;
  for (int64_t i = 0; i < count; ++i) {
    data::TokenizedSample sample;
    sample.tokens.assign(5 + i % 7, static_cast<int32_t>(i));
    sample.trained_from = 3;
    samples.push_back(sample);
  }
  return samples;
}

// First token of every document of an epoch: the sample's number.
std::vector<int64_t> order_of(const Epoch& epoch) {
  std::vector<int64_t> order;
  for (int64_t step = 0; step < epoch.steps(); ++step) {
    for (const data::PackedBatch& batch : epoch.batches(step).mine) {
      for (size_t d = 0; d + 1 < batch.document_starts.size(); ++d) {
        order.push_back(batch.tokens[batch.document_starts[d]]);
      }
    }
  }
  return order;
}

config::RunConfig options() {
  config::RunConfig run;
  run.max_length = 32;
  run.batch_size = 2;
  run.gradient_accumulation_steps = 3;
  return run;
}

TEST(Loader, AnEpochHasEverySampleOnceInAnOrderOfItsOwn) {
  const auto samples = make_samples(100);
  const auto first = order_of(training_epoch(samples, options(), options(), 0));
  EXPECT_EQ(first.size(), 100u);
  EXPECT_EQ(std::set<int64_t>(first.begin(), first.end()).size(), 100u);
  EXPECT_EQ(order_of(training_epoch(samples, options(), options(), 0)), first);
  EXPECT_NE(order_of(training_epoch(samples, options(), options(), 1)), first);
}

TEST(Loader, StepsHoldBatchesOfBins) {
  const auto samples = make_samples(100);
  const config::RunConfig run = options();
  const Epoch epoch = training_epoch(samples, run, run, 0);
  for (int64_t step = 0; step < epoch.steps(); ++step) {
    const auto batches = epoch.batches(step).mine;
    EXPECT_LE(batches.size(), 3u);
    if (step + 1 < epoch.steps()) {
      EXPECT_EQ(batches.size(), 3u);
    }
    for (const auto& batch : batches) {
      EXPECT_LE(static_cast<int64_t>(batch.tokens.size()),
                largest_batch(samples, run, run.batch_size).tokens);
      EXPECT_LE(std::ssize(batch.document_starts) - 1,
                largest_batch(samples, run, run.batch_size).documents);
    }
  }
}

TEST(Loader, WithoutPackingABatchIsBatchSizeSamples) {
  const auto samples = make_samples(7);
  config::RunConfig run = options();
  run.packing = false;
  const Epoch epoch = training_epoch(samples, run, run, 0);
  EXPECT_EQ(epoch.steps(), 2);
  EXPECT_EQ(epoch.batches(0).mine[0].samples, 2);
  EXPECT_EQ(epoch.batches(1).mine[0].samples, 1);
  const BatchSize size = largest_batch(samples, run, 2);
  EXPECT_EQ(size.tokens, 22);
  EXPECT_EQ(size.longest, 11);
  EXPECT_EQ(size.documents, 2);
}

// Three ranks with one micro-batch each have the steps of one rank with three.
TEST(Loader, RanksDealTheMicroBatchesOfAStep) {
  const auto samples = make_samples(101);
  config::RunConfig run = options();
  const Epoch one = training_epoch(samples, run, run, 0);
  run.gradient_accumulation_steps = 1;
  for (int64_t step = 0; step < one.steps(); ++step) {
    const StepBatches all = one.batches(step);
    for (int64_t rank = 0; rank < 3; ++rank) {
      const Epoch epoch = training_epoch(samples, run, run, 0, {rank, 3});
      ASSERT_EQ(epoch.steps(), one.steps());
      const StepBatches part = epoch.batches(step);
      EXPECT_EQ(part.tokens, all.tokens);
      EXPECT_EQ(part.trained_tokens, all.trained_tokens);
      ASSERT_EQ(part.mine.size(), 1u);
      if (rank < std::ssize(all.mine)) {
        EXPECT_EQ(part.mine[0].tokens, all.mine[rank].tokens);
      } else {
        EXPECT_EQ(part.mine[0].trained_tokens, 0);
        EXPECT_EQ(part.mine[0].document_starts, (std::vector<int64_t>{0, 1}));
      }
    }
  }
  EXPECT_LT(std::ssize(one.batches(one.steps() - 1).mine), 3);  // some rank had none
}

}  // namespace
}  // namespace trireme::data
