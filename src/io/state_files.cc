#include "io/state_files.h"

#include <fmt/format.h>

#include "base/error.h"
#include "config/json.h"
#include "io/manifest.h"

namespace trireme::io {
namespace {

using config::Json;

constexpr int64_t kFormat = 1;
constexpr uint64_t kLongest = uint64_t{256} << 20;  // of state.json: a million pieces
constexpr int64_t kMostElements = int64_t{1} << 48;

// One piece of state.json, with messages that name it.
class Row {
 public:
  Row(const Json& json, size_t index, const std::string& path)
      : json_(json), where_(fmt::format("{}: pieces[{}]", path, index)) {
    if (!json.is_object()) fail("{}: expected an object", where_);
  }

  StatePiece piece() const {
    StatePiece piece{
        .name = text("name"), .shape = numbers("shape"), .slice = {}, .file = text("file")};
    if (piece.shape.size() > 8) fail("{}: shape: at most 8 dimensions", where_);
    if (json_.contains("slice")) cut(piece);
    const std::vector<int64_t> elements = numbers("elements");
    if (elements.size() != 2 || elements[1] < elements[0]) {
      fail("{}: elements: expected the first and the one behind the last", where_);
    }
    piece.first = elements[0], piece.count = elements[1] - elements[0];
    if (json_.contains("phase")) piece.phase = number(json_["phase"], "phase");
    int64_t numel = 1;
    for (const int64_t size : piece.shape) {
      if (__builtin_mul_overflow(numel, size, &numel) || numel > kMostElements) {
        fail("{}: shape: more than 2^48 elements", where_);
      }
    }
    if (elements[1] > numel) fail("{}: elements: the part has {} of them", where_, numel);
    if (piece.phase >= 256) fail("{}: phase: less than 256 expected", where_);
    return piece;
  }

 private:
  std::string text(const char* key) const {
    if (!json_.contains(key) || !json_[key].is_string())
      fail("{}: {}: expected a text", where_, key);
    return json_[key].get<std::string>();
  }

  int64_t number(const Json& json, const char* key) const {
    if (!json.is_number_unsigned() || json.get<uint64_t>() > static_cast<uint64_t>(kMostElements)) {
      fail("{}: {}: expected whole numbers from 0 to 2^48", where_, key);
    }
    return json.get<int64_t>();
  }

  std::vector<int64_t> numbers(const char* key) const {
    if (!json_.contains(key) || !json_[key].is_array())
      fail("{}: {}: expected a list", where_, key);
    std::vector<int64_t> list;
    for (const Json& each : json_[key]) list.push_back(number(each, key));
    return list;
  }

  // From the whole tensor's shape to the part's.
  void cut(StatePiece& piece) const {
    const std::vector<int64_t> slice = numbers("slice");
    if (slice.size() != 3 || slice[0] >= std::ssize(piece.shape)) {
      fail("{}: slice: expected dimension, first and size", where_);
    }
    int64_t& size = piece.shape[static_cast<size_t>(slice[0])];
    if (slice[1] + slice[2] > size) fail("{}: slice: the dimension has {}", where_, size);
    piece.slice = {slice[0], slice[1], size};
    size = slice[2];
  }

  const Json& json_;
  std::string where_;
};

layout::ParamInfo param_of(const StatePiece& piece) {
  int64_t numel = 1;
  for (const int64_t size : piece.shape) numel *= size;
  return {piece.name, piece.shape, 0, numel, piece.slice};
}

// Numbers that a tensor of these names has for the elements of a piece.
void check_held(const StatePiece& piece, const SafetensorsFile& file) {
  for (const char* kind : {"weight", "exp_avg", "exp_avg_sq"}) {
    const auto entry = file.entries().find(fmt::format("{}/{}", kind, piece.name));
    if (entry == file.entries().end()) fail("{}: {}/{} is missing", file.path(), kind, piece.name);
    if (entry->second.shape != std::vector<int64_t>{piece.count}) {
      fail("{}: {} has not the {} elements that {} says", file.path(), entry->first, piece.count,
           kStateFile);
    }
    if (entry->second.dtype != DType::kU8) continue;
    const auto scales = file.entries().find(fmt::format("{}.absmax/{}", kind, piece.name));
    const int64_t blocks = (piece.phase + piece.count + 255) / 256;
    if (scales == file.entries().end() || scales->second.dtype != DType::kF32 ||
        scales->second.shape != std::vector<int64_t>{blocks}) {
      fail("{}: {}.absmax/{}: {} numbers F32 expected", file.path(), kind, piece.name, blocks);
    }
  }
}

}  // namespace

layout::Piece StatePiece::piece() const { return {param_of(*this).runs(), first, count}; }
std::vector<int64_t> StatePiece::whole_shape() const { return param_of(*this).global_shape(); }

std::string state_text(const std::vector<StatePiece>& pieces) {
  // A line a piece: a person reads it, and so does `grep`.
  std::string text = fmt::format("{{\n  \"format\": {},\n  \"pieces\": [", kFormat);
  for (const StatePiece& piece : pieces) {
    Json row = {{"name", piece.name},
                {"shape", piece.whole_shape()},
                {"elements", {piece.first, piece.first + piece.count}},
                {"file", piece.file}};
    if (piece.slice.whole > 0) {
      const int64_t size = piece.shape[static_cast<size_t>(piece.slice.dim)];
      row["slice"] = {piece.slice.dim, piece.slice.first, size};
    }
    if (piece.phase > 0) row["phase"] = piece.phase;
    text += (&piece == pieces.data() ? "\n    " : ",\n    ") + config::json_text(row);
  }
  return text + "\n  ]\n}\n";
}

std::vector<StatePiece> parse_state(const std::string& text, const std::string& path) {
  const Json json = config::parse_json(text, path);
  if (!json.is_object() || !json.contains("format") || !json["format"].is_number_integer()) {
    fail("{}: no \"format\": not the state of a checkpoint", path);
  }
  if (json["format"] != kFormat) {
    fail("{}: format {}: this program reads {}: use a newer one", path,
         config::json_text(json["format"]), kFormat);
  }
  if (!json.contains("pieces") || !json["pieces"].is_array())
    fail("{}: pieces: expected a list", path);
  std::vector<StatePiece> pieces;
  for (size_t i = 0; i < json["pieces"].size(); ++i) {
    pieces.push_back(Row(json["pieces"][i], i, path).piece());
  }
  return pieces;
}

std::string rank_file(int64_t rank, int64_t ranks) {
  return fmt::format("state/rank-{:05}-of-{:05}.safetensors", rank, ranks);
}

StateFiles::StateFiles(const std::string& folder) : folder_(folder) {
  const std::string path = folder + "/" + kStateFile;
  pieces_ = parse_state(config::read_text(path, kLongest), path);
  for (const StatePiece& piece : pieces_) {
    auto file = files_.find(piece.file);
    if (file == files_.end()) {
      // What lies elsewhere is not of this checkpoint.
      if (!piece.file.starts_with("state/") || piece.file.find("..") != std::string::npos) {
        fail("{}: file '{}': expected one below state/", path, piece.file);
      }
      file = files_.emplace(piece.file, SafetensorsFile(folder + "/" + piece.file)).first;
    }
    check_held(piece, file->second);
    tensors_[piece.name].push_back({&piece, &file->second});
  }
}

std::span<const StateFiles::Located> StateFiles::find(const std::string& tensor) const {
  const auto found = tensors_.find(tensor);
  if (found == tensors_.end()) return {};
  return found->second;
}

}  // namespace trireme::io
