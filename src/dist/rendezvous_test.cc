#include "dist/rendezvous.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/testing.h"
#include "dist/testing.h"

namespace trireme::dist {
namespace {

using std::chrono::seconds;

// A port that somebody listens on while it lives.
class TakenPort {
 public:
  TakenPort() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(socket_, any, size), 0);
    EXPECT_EQ(listen(socket_, 1), 0);
    EXPECT_EQ(getsockname(socket_, any, &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { close(socket_); }
  int64_t port() const { return port_; }

 private:
  int socket_;
  int64_t port_ = 0;
};

int64_t free_port() { return TakenPort().port(); }

config::Launch launch(int64_t rank, int64_t port, const std::string& attempt = "test/0") {
  return {.launcher = "torchrun",
          .rank = rank,
          .ranks = 2,
          .address = "127.0.0.1",
          .port = port,
          .attempt = attempt};
}

TEST(Rendezvous, RanksMeetAtTheAddressOfTheFirst) {
  ranks_are_threads();
  const int64_t port = free_port();
  const auto body = [&](int64_t rank) {
    const StorePtr store = connect(launch(rank, port), seconds(30));
    const Group group("world", {0, 1}, static_cast<size_t>(rank), *store,
                      {seconds(30), seconds(30)});
    const at::Tensor x = at::full({4}, static_cast<double>(rank + 1));
    group.all_reduce(x)->wait();
    EXPECT_EQ(x[0].item<double>(), 3.0);
  };
  std::jthread other(body, 1);
  body(0);
  other.join();
}

TEST(Rendezvous, ATakenPortIsSaid) {
  const TakenPort taken;
  const std::string error = user_error([&] { connect(launch(0, taken.port()), seconds(5)); });
  EXPECT_EQ(error,
            fmt::format("127.0.0.1:{}: the port is taken on this machine: use another MASTER_PORT "
                        "(torchrun --master_port)",
                        taken.port()));
}

TEST(Rendezvous, AFirstRankThatDoesNotAnswerIsNamed) {
  const int64_t port = free_port();
  const std::string error = user_error([&] { connect(launch(1, port), seconds(1)); });
  EXPECT_EQ(error.find(fmt::format("rank 0 does not answer at 127.0.0.1:{} within 1 s: "
                                   "check MASTER_ADDR, MASTER_PORT and that it runs: ",
                                   port)),
            0u)
      << error;
}

TEST(Rendezvous, AListenerThatSaysNothingIsNotWaitedFor) {
  const TakenPort silent;
  const std::string error = user_error([&] { connect(launch(1, silent.port()), seconds(1)); });
  EXPECT_NE(
      error.find(fmt::format("rank 0 does not answer at 127.0.0.1:{} within 1 s: ", silent.port())),
      std::string::npos)
      << error;
  EXPECT_NE(error.find("something listens there that does not answer"), std::string::npos);
}

TEST(Rendezvous, RanksThatDoNotComeAreCounted) {
  const int64_t port = free_port();
  const std::string error = user_error([&] { connect(launch(0, port), seconds(1)); });
  EXPECT_EQ(error.find(fmt::format(
                "127.0.0.1:{}: the 2 ranks of this job did not all come within 1 s: ", port)),
            0u)
      << error;
}

}  // namespace
}  // namespace trireme::dist
