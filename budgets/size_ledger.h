// The ledger of what would be shipped: every file as it lies and as it counts, every stream inside the artifacts, the
// ways of counting code side by side.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace par5 {

struct LedgerLine {
  std::string what;  // "artifact model.par5", "tokenizer in the artifact", "script train_gpt.py", "helper kernel.c"
  std::string file;  // empty for a part of a file, or a size that is only written down
  std::uint64_t raw_bytes = 0;
  std::uint64_t counted_bytes = 0;  // 0: does not count
  std::string note;                 // "not counted by these rules", "as train.log:446 says"
};

struct ArtifactStream {
  std::string artifact;
  std::string tensor;
  std::string what;  // "codes, base5_t, lzma"
  std::uint64_t raw_bytes = 0, stored_bytes = 0;
};

// One way of counting: its code, and the total with it.
struct CountingWay {
  std::string name;  // "shipped", "raw", "wrapped"; "raw", "xz", "binary" of par5's own code
  std::uint64_t code_bytes = 0, total_bytes = 0;
  bool decides = false;
};

struct SeedTotal {
  std::string seed, where;  // "42", "train_seed42.log:446" or the artifact's name
  std::uint64_t artifact_bytes = 0, total_bytes = 0;
};

struct SizeLedger {
  std::vector<LedgerLine> lines;
  std::vector<ArtifactStream> streams;
  std::vector<CountingWay> ways;  // empty where code does not count and none is known
  std::vector<SeedTotal> seeds;   // worst first
  std::uint64_t total_bytes = 0;  // by the way that decides, of the worst seed
  std::uint64_t cap_bytes = 0;
  std::uint64_t tokenizer_bytes = 0;  // wherever it lies
  std::uint64_t total_with_tokenizer = 0, total_without_tokenizer = 0;
  bool artifact_known = false;  // a file was measured, not a log believed

  std::int64_t margin_bytes() const {
    return static_cast<std::int64_t>(cap_bytes) - static_cast<std::int64_t>(total_bytes);
  }
};

}  // namespace par5
