// The parts of the schema's list, by heading of --help. schema() joins them.
#pragma once

#include <vector>

#include "config/schema.h"

namespace trireme::config {

// Verbs that train on random or given tokens: no samples, no result folder, no schedule.
constexpr unsigned kWithoutData = kBench | kDump;

std::vector<Option> file_options();
std::vector<Option> sample_options();
std::vector<Option> training_options();
std::vector<Option> lora_options();
std::vector<Option> machine_options();
std::vector<Option> generate_options();
std::vector<Option> bench_options();
std::vector<Option> output_options();  // of data, tokenize, export and dump

}  // namespace trireme::config
