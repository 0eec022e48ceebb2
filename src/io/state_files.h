// The state of training in a checkpoint, beside the model: state.json and the files of the ranks
// that wrote it,
//
//   state.json                              which file holds which elements of which tensor
//   state/rank-00000-of-00002.safetensors   weight/NAME, exp_avg/NAME and exp_avg_sq/NAME of each
//                                           tensor of which the rank had a piece, flat; of 8-bit
//                                           moments exp_avg.absmax/NAME and exp_avg_sq.absmax/NAME
//
// NAME is Hugging Face's. Pieces are in coordinates of the whole tensor, so that any ranks read
// what any others wrote.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "layout/pieces.h"

namespace trireme::io {

inline constexpr const char* kStateFile = "state.json";

// What of a tensor's state a rank's file holds.
struct StatePiece {
  std::string name;            // of the tensor
  std::vector<int64_t> shape;  // of the rank's part of it
  layout::Slice slice;         // where the part is in the whole tensor
  int64_t first = 0;           // elements [first, first + count) of the part
  int64_t count = 0;
  int64_t phase =
      0;  // of 8-bit moments: elements of the first block of 256 that lie before the piece
  std::string file;  // in the checkpoint

  layout::Piece piece() const;
  std::vector<int64_t> whole_shape() const;
};

// state.json.
std::string state_text(const std::vector<StatePiece>& pieces);
// UserError naming `path` and what is wrong.
std::vector<StatePiece> parse_state(const std::string& text, const std::string& path);

// The name of a rank's file.
std::string rank_file(int64_t rank, int64_t ranks);

// The state of a checkpoint, opened: headers are read and compared with state.json.
class StateFiles {
 public:
  // UserError: no state, a file that is missing or does not hold what state.json says.
  explicit StateFiles(const std::string& folder);

  struct Located {
    const StatePiece* piece;
    const SafetensorsFile* file;
  };
  // All pieces of a tensor; empty: there is none of that name.
  std::span<const Located> find(const std::string& tensor) const;
  const std::vector<StatePiece>& pieces() const { return pieces_; }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::vector<StatePiece> pieces_;
  std::map<std::string, SafetensorsFile> files_;
  std::map<std::string, std::vector<Located>> tensors_;
};

}  // namespace trireme::io
