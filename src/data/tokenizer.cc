// The path of a text: cut at added tokens -> NFC -> pieces of the pre-tokenizer -> byte-pair
// encoding of each.
#include "data/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "data/bpe.h"
#include "data/pretokenizer.h"
#include "data/tokenizer_added.h"
#include "data/tokenizer_file.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

std::vector<int32_t> ids_of(const std::vector<AddedToken>& tokens) {
  std::vector<int32_t> ids;
  for (const AddedToken& token : tokens) ids.push_back(token.id);
  return ids;
}

}  // namespace

struct Tokenizer::Impl {
  struct Worker {
    PieceRegex::Scratch regex;
    Bpe::Scratch bpe;
    std::vector<std::string_view> pieces;
  };

  // Borrows a worker for one call, so that calls from several threads meet only here.
  class Lease {
   public:
    explicit Lease(const Impl& impl) : impl_(impl) {
      const std::lock_guard lock(impl_.mutex);
      if (impl_.idle.empty()) {
        worker_ = std::make_unique<Worker>();
      } else {
        worker_ = std::move(impl_.idle.back());
        impl_.idle.pop_back();
      }
    }
    ~Lease() {
      const std::lock_guard lock(impl_.mutex);
      impl_.idle.push_back(std::move(worker_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Worker& operator*() { return *worker_; }

   private:
    const Impl& impl_;
    std::unique_ptr<Worker> worker_;
  };

  explicit Impl(TokenizerFile file);

  // `text` is valid UTF-8 without added tokens, already normalised.
  void encode_pieces(std::string_view text, std::vector<int32_t>& ids, Worker& worker) const {
    pre_tokenizer.split(text, worker.pieces, worker.regex);
    for (std::string_view piece : worker.pieces) bpe.encode(piece, ids, worker.bpe);
  }

  void encode_span(const AuthoredText& text, const ControlIds& control, std::vector<int32_t>& ids,
                   Worker& worker) const {
    if (normalized_added.empty()) return encode_pieces(text.text(), ids, worker);
    for (const AddedSpan& span : normalized_added.split(text, control)) {
      if (span.id >= 0) {
        ids.push_back(span.id);
      } else {
        encode_pieces(span.text.text(), ids, worker);
      }
    }
  }

  // `text` is valid UTF-8.
  std::vector<int32_t> encode(const AuthoredText& text, const ControlIds& control) const {
    std::vector<int32_t> ids;
    Lease worker(*this);
    for (const AddedSpan& span : raw_added.split(text, control)) {
      if (span.id >= 0) {
        ids.push_back(span.id);
      } else if (!use_nfc || is_surely_nfc(span.text.text())) {
        encode_span(span.text, control, ids, *worker);
      } else if (span.text.by_one()) {
        encode_span({nfc(span.text.text()), span.text.author(0)}, control, ids, *worker);
      } else {
        encode_span(nfc(span.text).view(), control, ids, *worker);
      }
    }
    return ids;
  }

  std::string folder;
  PreTokenizer pre_tokenizer;
  bool use_nfc;
  std::vector<AddedToken> added;
  AddedTokenMatcher raw_added, normalized_added;
  Bpe bpe;
  std::vector<std::string> bytes_of;  // by id
  std::vector<bool> is_special;       // by id

  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Worker>> idle;
};

Tokenizer::Impl::Impl(TokenizerFile file)
    : pre_tokenizer(file.pre_tokenizer, file.path),
      use_nfc(file.nfc),
      added(std::move(file.added)),
      bpe(std::move(file.vocabulary), file.merges,
          {.ignore_merges = file.ignore_merges, .never = ids_of(added)}, file.path) {
  int32_t largest = 0;
  for (const auto& [entry, id] : bpe.vocabulary()) largest = std::max(largest, id);
  for (const AddedToken& token : added) largest = std::max(largest, token.id);
  const size_t known = bpe.vocabulary().size() + added.size();
  if (static_cast<size_t>(largest) > 16 * known + 1000) {
    fail("{}: the largest id is {} with {} tokens", file.path, largest, known);
  }
  bytes_of.resize(static_cast<size_t>(largest) + 1);
  is_special.resize(bytes_of.size());
  for (const auto& [entry, id] : bpe.vocabulary()) bytes_of[id] = entry_to_bytes(entry);
  for (const AddedToken& token : added) {
    bytes_of[token.id] = entry_to_bytes(token.content);
    is_special[token.id] = token.special;
    if (token.content.empty()) continue;
    if (token.normalized) {
      normalized_added.insert(token, use_nfc ? nfc(token.content) : token.content);
    } else {
      raw_added.insert(token, token.content);
    }
  }
}

Tokenizer::Tokenizer(const std::string& folder) {
  impl_ = std::make_unique<Impl>(read_tokenizer_file(folder + "/tokenizer.json"));
  impl_->folder = folder;
}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::string repaired;
  if (valid_utf8_prefix(text) != text.size()) text = repaired = to_valid_utf8(text);
  return impl_->encode({text, Author::kTemplate}, {});
}

std::vector<int32_t> Tokenizer::encode(std::span<const TextRun> runs,
                                       const ControlIds& control) const {
  const AuthoredString text(runs);
  return impl_->encode(text.view(), control);
}

ControlIds Tokenizer::tokens_of_template(std::string_view source) const {
  ControlIds ids;
  for (const AddedToken& token : impl_->added) {
    if (strip(token.content).empty()) continue;
    if (source.find(token.content) != std::string_view::npos) ids.insert(token.id);
  }
  return ids;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special) const {
  std::string bytes;
  for (int32_t id : ids) {
    // As in the reference an id without a token (a padded embedding row) is nothing.
    if (id < 0 || static_cast<size_t>(id) >= impl_->bytes_of.size()) continue;
    if (skip_special && impl_->is_special[id]) continue;
    bytes += impl_->bytes_of[id];
  }
  return to_valid_utf8(bytes);
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  for (const AddedToken& added : impl_->added) {
    if (added.content == token) return added.id;
  }
  const auto found = impl_->bpe.vocabulary().find(token);
  if (found == impl_->bpe.vocabulary().end()) return std::nullopt;
  return found->second;
}

int64_t Tokenizer::size() const { return static_cast<int64_t>(impl_->bytes_of.size()); }

const std::string& Tokenizer::folder() const { return impl_->folder; }

}  // namespace trireme::data
