// The path of a text: cut at added tokens -> normalised -> cut at added tokens that are looked for
// now -> pieces of the pre-tokenizer -> byte-pair encoding of each.
#include "data/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "data/bpe.h"
#include "data/normalizer.h"
#include "data/pretokenizer.h"
#include "data/token_decoder.h"
#include "data/tokenizer_added.h"
#include "data/tokenizer_file.h"
#include "data/unicode.h"

namespace trireme::data {
namespace {

// Added tokens that the merges may lead to as well. The unknown token steers nothing.
std::vector<int32_t> guarded_ids(const TokenizerFile& file) {
  std::vector<int32_t> ids;
  for (const AddedToken& token : file.added) {
    const bool in_vocabulary = file.vocabulary.contains(token.content);
    if (in_vocabulary && token.id != file.unknown) ids.push_back(token.id);
  }
  return ids;
}

}  // namespace

struct Tokenizer::Impl {
  struct Worker {
    PreTokenizer::Scratch cutting;
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

  // A text without added tokens, already normalised. `at_start`: nothing stands before it.
  void encode_pieces(const AuthoredText& text, bool at_start, const ControlIds& control,
                     std::vector<int32_t>& ids, Worker& worker) const {
    const size_t from = ids.size();
    pre_tokenizer.split(text.text(), at_start, worker.pieces, worker.cutting);
    for (std::string_view piece : worker.pieces) bpe.encode(piece, ids, worker.bpe);
    if (!guarded.empty() && text.strictest() != Author::kTemplate) {
      spell_refused(text.strictest(), control, from, ids);
    }
  }

  // What the merges made of a text must not be a token that its authors may not write.
  void spell_refused(Author author, const ControlIds& control, size_t from,
                     std::vector<int32_t>& ids) const {
    const auto refused = [&](int32_t id) {
      const auto token = guarded.find(id);
      return token != guarded.end() && !may_write(author, token->second, control);
    };
    if (std::none_of(ids.begin() + static_cast<int64_t>(from), ids.end(), refused)) return;
    std::vector<int32_t> spelled(ids.begin(), ids.begin() + static_cast<int64_t>(from));
    for (size_t i = from; i < ids.size(); ++i) bpe.spell(ids[i], refused, spelled);
    ids = std::move(spelled);
  }

  void encode_normal(const AuthoredText& text, bool at_start, const ControlIds& control,
                     std::vector<int32_t>& ids, Worker& worker) const {
    if (normalized_added.empty()) return encode_pieces(text, at_start, control, ids, worker);
    const char* start = text.text().data();
    for (const AddedSpan& span : normalized_added.split(text, control)) {
      if (span.id >= 0) {
        ids.push_back(span.id);
      } else {
        const bool first = at_start && span.text.text().data() == start;
        encode_pieces(span.text, first, control, ids, worker);
      }
    }
  }

  // `text` is valid UTF-8.
  std::vector<int32_t> encode(const AuthoredText& text, const ControlIds& control) const {
    std::vector<int32_t> ids;
    Lease worker(*this);
    for (const AddedSpan& span : raw_added.split(text, control)) {
      const bool at_start = span.text.text().data() == text.text().data();
      if (span.id >= 0) {
        ids.push_back(span.id);
      } else if (normalizer.surely_keeps(span.text.text())) {
        encode_normal(span.text, at_start, control, ids, *worker);
      } else {
        const AuthoredString normal = normalizer(span.text);
        encode_normal(normal.view(), at_start, control, ids, *worker);
      }
    }
    return ids;
  }

  std::string folder;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenDecoder decoder;
  std::vector<AddedToken> added;
  AddedTokenMatcher raw_added, normalized_added;
  Bpe bpe;
  std::unordered_map<int32_t, AddedToken> guarded;  // by id: those that the merges may lead to
  std::vector<int32_t> before, behind;              // of special tokens
  std::vector<std::string> entries;                 // by id; "" where there is none
  std::vector<bool> is_special;                     // by id

  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Worker>> idle;
};

Tokenizer::Impl::Impl(TokenizerFile file)
    : normalizer(file.normalizer, file.path),
      pre_tokenizer(file.pre_tokenizer, file.path),
      decoder(file.decoder, file.path),
      added(file.added),
      bpe(std::move(file.vocabulary), file.merges,
          {.bytes = pre_tokenizer.byte_level(),
           .ignore_merges = file.ignore_merges,
           .byte_fallback = file.byte_fallback,
           .unknown = file.unknown,
           .fuse_unknown = file.fuse_unknown,
           .guarded = guarded_ids(file)},
          file.path),
      before(std::move(file.before)),
      behind(std::move(file.behind)) {
  int32_t largest = 0;
  for (const auto& [entry, id] : bpe.vocabulary()) largest = std::max(largest, id);
  for (const AddedToken& token : added) largest = std::max(largest, token.id);
  const size_t known = bpe.vocabulary().size() + added.size();
  if (static_cast<size_t>(largest) > 16 * known + 1000) {
    fail("{}: the largest id is {} with {} tokens", file.path, largest, known);
  }
  entries.resize(static_cast<size_t>(largest) + 1);
  is_special.resize(entries.size());
  for (const auto& [entry, id] : bpe.vocabulary()) entries[id] = entry;
  for (const AddedToken& token : added) {
    if (bpe.vocabulary().contains(token.content) && token.id != file.unknown) {
      guarded[token.id] = token;
    }
    is_special[token.id] = token.special;
    // The reference too shows a token that is looked for in normalised text as it stands there.
    const std::string content = token.normalized ? normalizer(token.content) : token.content;
    entries[token.id] = content;
    if (token.content.empty()) continue;
    (token.normalized ? normalized_added : raw_added).insert(token, content);
  }
}

Tokenizer::Tokenizer(const std::string& folder) {
  impl_ = std::make_unique<Impl>(read_tokenizer_files(folder));
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
  std::vector<std::string> entries;
  for (int32_t id : ids) {
    // As in the reference an id without a token (a padded embedding row) is nothing.
    if (id < 0 || static_cast<size_t>(id) >= impl_->entries.size()) continue;
    if (impl_->entries[id].empty() || (skip_special && impl_->is_special[id])) continue;
    entries.push_back(impl_->entries[id]);
  }
  return impl_->decoder(std::move(entries));
}

std::vector<int32_t> Tokenizer::with_special_tokens(std::vector<int32_t> ids) const {
  ids.insert(ids.begin(), impl_->before.begin(), impl_->before.end());
  ids.insert(ids.end(), impl_->behind.begin(), impl_->behind.end());
  return ids;
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  for (const AddedToken& added : impl_->added) {
    if (added.content == token) return added.id;
  }
  const auto found = impl_->bpe.vocabulary().find(token);
  if (found == impl_->bpe.vocabulary().end()) return std::nullopt;
  return found->second;
}

int64_t Tokenizer::size() const { return static_cast<int64_t>(impl_->entries.size()); }

const std::string& Tokenizer::folder() const { return impl_->folder; }

}  // namespace trireme::data
