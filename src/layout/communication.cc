#include "layout/communication.h"

namespace trireme::layout {

const char* collective_name(Collective collective) {
  switch (collective) {
    case Collective::kAllReduce:
      return "all_reduce";
    case Collective::kAllGather:
      return "all_gather";
    case Collective::kReduceScatter:
      return "reduce_scatter";
    case Collective::kAllToAll:
      return "all_to_all";
    case Collective::kRingShift:
      break;
  }
  return "ring_shift";
}

CommunicationTable since(const CommunicationTable& before, CommunicationTable now) {
  for (auto& [row, volume] : now) {
    const auto found = before.find(row);
    if (found == before.end()) continue;
    volume.calls -= found->second.calls;
    volume.bytes -= found->second.bytes;
    volume.overlapped -= found->second.overlapped;
    volume.exposed -= found->second.exposed;
  }
  std::erase_if(now, [](const auto& row) { return row.second.calls == 0; });
  return now;
}

}  // namespace trireme::layout
