#include "data/batch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "config/json.h"

namespace trireme::data {
namespace {

using config::Json;

// One row of ids, each `ignored` or in [0, vocab).
std::vector<int64_t> read_row(const Json& row, const std::string& where, int64_t vocab,
                              int64_t ignored) {
  if (!row.is_array()) fail("{}: expected an array of ids, found {}", where, row.type_name());
  std::vector<int64_t> ids;
  for (const Json& value : row) {
    const auto id = config::whole_number(value, std::min<int64_t>(ignored, 0), vocab - 1);
    if (!id || (*id < 0 && *id != ignored)) {
      fail("{}[{}]: {} is no token id of this model (0 to {})", where, ids.size(),
           config::json_text(value), vocab - 1);
    }
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace

PackedBatch read_batch(const std::string& path, int64_t vocab) {
  const Json json = config::read_json(path);
  if (!json.is_object() || !json.contains("documents") || !json["documents"].is_array()) {
    fail("{}: expected an object with \"documents\", a list of lists of ids", path);
  }
  const Json& documents = json["documents"];
  const Json& labels = json.contains("labels") ? json["labels"] : documents;
  if (!labels.is_array() || labels.size() != documents.size()) {
    fail("{}: labels: expected {} lists, one a document", path, documents.size());
  }
  PackedBatch batch;
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto tokens = read_row(documents[i], fmt::format("{}: documents[{}]", path, i), vocab, 0);
    const auto targets = read_row(labels[i], fmt::format("{}: labels[{}]", path, i), vocab, -100);
    if (tokens.empty() || tokens.size() != targets.size()) {
      fail("{}: document {} has {} ids and {} labels: they must be as many, and not none", path, i,
           tokens.size(), targets.size());
    }
    append_document(batch, tokens, targets);
  }
  if (batch.trained_tokens == 0)
    fail("{}: no label is trained on: all are -100 or first of their document", path);
  return batch;
}

}  // namespace trireme::data
