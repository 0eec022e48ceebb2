#include "io/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/error.h"
#include "io/posix.h"

namespace trireme::io {
namespace {

using Entries = std::map<std::string, TensorEntry>;

// Far above any tensor's; keeps a header of one long list from filling the memory.
constexpr size_t kMostDimensions = 32;

// Receives the header's JSON event by event. A document tree would take the last of two equal keys,
// and a hostile header of 100 MB would become a tree of many GB.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}

  Entries take() { return std::move(entries_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool binary(binary_t&) override { unexpected("bytes"); }
  bool number_integer(number_integer_t value) override { unexpected(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { unexpected(text); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override;

 private:
  enum class Place { kOutside, kRoot, kMetadata, kTensor, kShape, kOffsets };

  [[noreturn]] void unexpected(std::string_view found) const;
  std::string where() const;
  std::string_view expected() const;
  void begin_entry(const std::string& name);
  void finish_tensor();

  const std::string& path_;
  Entries entries_;
  std::set<std::string> metadata_keys_;
  bool metadata_seen_ = false;
  Place place_ = Place::kOutside;
  std::string name_;            // key of the root that is being read
  std::set<std::string> seen_;  // fields of the tensor so far
  std::string field_;           // the last of them
  TensorEntry entry_;
  std::vector<uint64_t> offsets_;
};

std::string HeaderReader::where() const {
  if (name_.empty() || name_ == "__metadata__") return path_;
  return fmt::format("{}: tensor {}", path_, name_);
}

std::string_view HeaderReader::expected() const {
  switch (place_) {
    case Place::kOutside:
      return "an object";
    case Place::kRoot:
      return name_ == "__metadata__" ? "an object (__metadata__)" : "an object";
    case Place::kMetadata:
      return "a string (__metadata__ holds nothing else)";
    case Place::kShape:
      return "a size from 0 to 2^63-1 in shape";
    case Place::kOffsets:
      return "a byte position from 0 to 2^63-1 in data_offsets";
    case Place::kTensor:
      break;
  }
  return field_ == "dtype" ? "a string as dtype" : "a list as shape or data_offsets";
}

void HeaderReader::unexpected(std::string_view found) const {
  fail(
      "{}: the header has {} where {} belongs: the file is damaged or was not written as "
      "safetensors",
      where(), found, expected());
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  const bool list = place_ == Place::kShape || place_ == Place::kOffsets;
  if (!list || value > uint64_t{std::numeric_limits<int64_t>::max()})
    unexpected(std::to_string(value));
  const size_t most = place_ == Place::kShape ? kMostDimensions : 2;
  const size_t count = place_ == Place::kShape ? entry_.shape.size() : offsets_.size();
  if (count == most) fail("{}: {} has more than {} numbers: damaged file", where(), field_, most);
  if (place_ == Place::kShape) {
    entry_.shape.push_back(static_cast<int64_t>(value));
  } else {
    offsets_.push_back(value);
  }
  return true;
}

bool HeaderReader::string(string_t& value) {
  if (place_ == Place::kMetadata) return true;
  if (place_ != Place::kTensor || field_ != "dtype") unexpected("a string");
  const auto dtype = dtype_of(value);
  if (!dtype) {
    fail("{}: dtype {} is unknown: convert the model to BF16, F16 or F32", where(), value);
  }
  entry_.dtype = *dtype;
  return true;
}

bool HeaderReader::start_object(size_t) {
  switch (place_) {
    case Place::kOutside:
      place_ = Place::kRoot;
      return true;
    case Place::kRoot:
      place_ = name_ == "__metadata__" ? Place::kMetadata : Place::kTensor;
      return true;
    default:
      unexpected("an object");
  }
}

bool HeaderReader::key(string_t& name) {
  if (place_ == Place::kRoot) {
    begin_entry(name);
    return true;
  }
  if (place_ == Place::kMetadata) {
    if (metadata_keys_.insert(name).second) return true;
    fail("{}: __metadata__ has the key {} twice: damaged file", path_, name);
  }
  field_ = name;
  if (name != "dtype" && name != "shape" && name != "data_offsets") {
    fail("{}: unknown field {}: the file is damaged or of a later format", where(), name);
  }
  if (!seen_.insert(name).second) fail("{}: {} is there twice: damaged file", where(), name);
  return true;
}

void HeaderReader::begin_entry(const std::string& name) {
  if (entries_.contains(name) || (name == "__metadata__" && metadata_seen_)) {
    fail("{}: the header has {} twice: damaged file", path_, name);
  }
  metadata_seen_ |= name == "__metadata__";
  name_ = name;
  entry_ = {};
  offsets_.clear();
  seen_.clear();
}

bool HeaderReader::end_object() {
  if (place_ == Place::kTensor) finish_tensor();
  place_ = place_ == Place::kRoot ? Place::kOutside : Place::kRoot;
  name_.clear();
  return true;
}

void HeaderReader::finish_tensor() {
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!seen_.contains(field)) fail("{}: {} is missing: damaged file", where(), field);
  }
  if (offsets_.size() != 2) fail("{}: data_offsets must be two numbers: damaged file", where());
  entry_.begin = offsets_[0];
  entry_.end = offsets_[1];
  entries_.emplace(name_, std::move(entry_));
}

bool HeaderReader::start_array(size_t) {
  if (place_ != Place::kTensor || field_ == "dtype") unexpected("a list");
  place_ = field_ == "shape" ? Place::kShape : Place::kOffsets;
  return true;
}

bool HeaderReader::end_array() {
  place_ = Place::kTensor;
  return true;
}

bool HeaderReader::parse_error(size_t position, const std::string&,
                               const nlohmann::json::exception& error) {
  const bool encoding = std::string_view(error.what()).find("UTF-8") != std::string_view::npos;
  fail("{}: the header is not valid {} at its byte {}: damaged file, download it again", path_,
       encoding ? "UTF-8" : "JSON", position);
}

void check_size(const std::string& name, const TensorEntry& entry, const std::string& path) {
  if (entry.begin > entry.end) {
    fail("{}: tensor {}: data_offsets [{}, {}] end before they begin: damaged file", path, name,
         entry.begin, entry.end);
  }
  int64_t bytes = dtype_bytes(entry.dtype);
  for (const int64_t size : entry.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      fail(
          "{}: tensor {}: its shape has more elements than 64 bits can count (at size {}): damaged "
          "file",
          path, name, size);
    }
  }
  if (entry.end - entry.begin != static_cast<uint64_t>(bytes)) {
    fail("{}: tensor {}: shape and dtype {} need {} bytes, data_offsets give {}: damaged file",
         path, name, dtype_name(entry.dtype), bytes, entry.end - entry.begin);
  }
}

// In the order of their offsets the tensors must cover the data without overlap, hole or rest: what
// no tensor covers could hide another file, and what two cover lets a small file claim endless
// memory.
void check_cover(const Entries& entries, uint64_t data_bytes, const std::string& path) {
  std::vector<const Entries::value_type*> order;
  for (const auto& item : entries) order.push_back(&item);
  std::ranges::sort(
      order, {}, [](const auto* item) { return std::pair(item->second.begin, item->second.end); });
  uint64_t covered = 0;
  const std::string* previous = nullptr;
  const std::string* cut = nullptr;
  for (const auto* item : order) {
    const auto& [name, entry] = *item;
    if (entry.begin < covered) {
      fail("{}: tensors {} and {} overlap at byte {} of the data: damaged file", path, *previous,
           name, entry.begin);
    }
    if (entry.begin > covered) {
      fail("{}: tensor {}: bytes {} to {} of the data before it belong to no tensor: damaged file",
           path, name, covered, entry.begin);
    }
    covered = entry.end;
    previous = &name;
    if (cut == nullptr && covered > data_bytes) cut = &name;
  }
  if (cut != nullptr) {
    fail(
        "{}: tensor {}: the file is truncated: {} bytes of data expected, {} found: download it "
        "again",
        path, *cut, covered, data_bytes);
  }
  if (covered < data_bytes) {
    fail("{}: {} bytes after the last tensor belong to none: damaged file", path,
         data_bytes - covered);
  }
}

}  // namespace

std::map<std::string, TensorEntry> parse_header(std::string_view header, uint64_t data_bytes,
                                                const std::string& path) {
  if (!header.starts_with('{')) {
    fail("{}: the header does not start with '{{': not a safetensors file", path);
  }
  // The JSON parser takes NUL for the end of the text and would not see what follows.
  if (const size_t at = header.find('\0'); at != std::string_view::npos) {
    fail("{}: the header has a NUL at its byte {}: damaged file, download it again", path, at + 1);
  }
  HeaderReader reader(path);
  nlohmann::json::sax_parse(header, &reader);
  Entries entries = reader.take();
  for (const auto& [name, entry] : entries) check_size(name, entry, path);
  check_cover(entries, data_bytes, path);
  return entries;
}

}  // namespace trireme::io
