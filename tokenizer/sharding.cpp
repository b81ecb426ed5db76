#include "tokenizer/sharding.h"

#include <functional>
#include <utility>

#include "core/cancel.h"
#include "core/hash.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "tokenizer/shards/shard_writer.h"

namespace par5 {
namespace {

// Documents are taken in batches of about this size, each batch encoded by all threads and handed on in order.
constexpr std::size_t kBatchBytes = std::size_t{8} << 20;
constexpr std::size_t kBatchDocuments = 1024;

struct Accounted {
  std::string place;
  std::string sha256;  // of the source text
  DocumentAccount account;
};

using Consumer = std::function<Status(Accounted&&)>;

Status for_each_document(TextSource& source, const Tokenizer& tokenizer, std::size_t threads, const char* what,
                         const Consumer& consume) {
  Progress progress(what, source.total(), "bytes");
  std::uint64_t documents = 0;
  for (bool more = true; more;) {
    std::vector<TextDocument> batch;
    for (std::size_t bytes = 0; bytes < kBatchBytes && batch.size() < kBatchDocuments;) {
      TextDocument document;
      P5_TRY(more, source.next(document));
      if (!more) break;
      bytes += document.text.size();
      batch.push_back(std::move(document));
    }
    std::vector<Result<Accounted>> accounts(batch.size());
    parallel_for(batch.size(), threads, [&](std::size_t i) {
      accounts[i] = cancelled()
                        ? Result<Accounted>(interrupted())
                        : account_document(tokenizer, batch[i].text).map([&](DocumentAccount&& account) {
                            return Accounted{batch[i].place, sha256_hex(as_bytes(batch[i].text)), std::move(account)};
                          });
    });
    for (auto& account : accounts) {
      if (!account) return tl::unexpected(std::move(account).error());
      P5_OK(consume(std::move(*account)));
    }
    documents += batch.size();
    progress.update(source.consumed(), std::to_string(documents) + " documents");
  }
  return {};
}

Status check_account(const Accounted& document) {
  const DocumentAccount& account = document.account;
  if (account.fault.empty()) return {};
  return bad_data("the bytes of a document do not agree (" + document.place + ": charged " +
                  std::to_string(account.charged_bytes) + ", decoded " + std::to_string(account.decoded_bytes) +
                  ", normalised " + std::to_string(account.normalized_bytes) + "): " + account.fault);
}

std::uint64_t splitmix64(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

Result<ShardSummary> shard_text(TextSource& source, const Tokenizer& tokenizer, const std::string& folder,
                                const ShardOptions& options) {
  if (!tokenizer.bos())
    return bad_data("the tokenizer has no BOS (control piece \"<s>\"), which begins every document");
  P5_TRY(auto writer, ShardWriter::create(folder, {options.shard_tokens, options.overwrite, *tokenizer.bos(),
                                                   options.shuffle_seed, tokenizer.bytes(), tokenizer.sha256()}));
  ShardSummary summary;
  std::uint64_t charged = 0;
  std::vector<Accounted> kept;
  const auto add = [&](const Accounted& document) {
    return writer.add(document.account.tokens, document.sha256, document.account.source_bytes);
  };
  const auto consume = [&](Accounted&& document) -> Status {
    P5_OK(check_account(document));
    summary.change += document.account.change;
    summary.empty_documents += document.account.charged_bytes == 0;
    charged += document.account.charged_bytes;
    if (!options.shuffle_seed) return add(document);
    kept.push_back(std::move(document));
    return {};
  };
  P5_OK(for_each_document(source, tokenizer, options.threads, "sharding", consume));
  if (charged == 0) return bad_data("the text is empty: there is nothing to shard", source.files().front());
  if (options.shuffle_seed) {
    std::uint64_t state = *options.shuffle_seed;
    for (std::size_t i = kept.size(); i > 1; --i) std::swap(kept[i - 1], kept[splitmix64(state) % i]);
    for (const Accounted& document : kept) {
      if (cancelled()) return interrupted();
      P5_OK(add(document));
    }
  }
  P5_TRY(summary.manifest, writer.finish());
  return summary;
}

Result<VerifySummary> verify_text(TextSource& source, const Tokenizer& tokenizer, std::size_t threads,
                                  TextClaim claim) {
  constexpr std::size_t kFaultsKept = 100;
  VerifySummary summary;
  ClaimCheck check(tokenizer, std::move(claim));
  const auto consume = [&](Accounted&& document) -> Status {
    const DocumentAccount& account = document.account;
    summary.documents += 1;
    summary.tokens += account.tokens.size();
    summary.charged_bytes += account.charged_bytes;
    summary.decoded_bytes += account.decoded_bytes;
    summary.normalized_bytes += account.normalized_bytes;
    summary.source_bytes += account.source_bytes;
    summary.change += account.change;
    P5_OK(check.add(account));
    if (account.fault.empty()) return {};
    summary.faulty_documents += 1;
    if (summary.faults.size() < kFaultsKept)
      summary.faults.push_back(
          {document.place, account.fault, account.charged_bytes, account.decoded_bytes, account.normalized_bytes});
    return {};
  };
  P5_OK(for_each_document(source, tokenizer, threads, "verifying", consume));
  if (summary.documents == 0) return bad_data("the text is empty: there is nothing to verify", source.files().front());
  summary.named = check.finish();
  summary.scored = check.scored();
  return summary;
}

}  // namespace par5
