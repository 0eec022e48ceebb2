// main of the *_gpu_test programs: without a GPU they say so and exit with 77, which ctest shows as
// skipped. Tests named Throughput.* only measure; they run with --bench.
#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string_view>

namespace {

constexpr int kSkipped = 77;

void leave_out_measurements() {
  std::string filter = GTEST_FLAG_GET(filter);
  filter += filter.find('-') == std::string::npos ? "-Throughput.*" : ":Throughput.*";
  GTEST_FLAG_SET(filter, filter);
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (!at::detail::getCUDAHooks().hasCUDA()) {
    fmt::print("skipped: no usable GPU here, or a build without CUDA\n");
    return kSkipped;
  }
  if (argc < 2 || std::string_view(argv[1]) != "--bench") leave_out_measurements();
  return RUN_ALL_TESTS();
}
