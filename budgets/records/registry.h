// The registry of known tokenizers, denominators and faults (budgets/registry/*.toml, built into the program): against
// it a score's bytes per token and counts are held.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace par5 {

struct KnownTokenizer {
  std::string name;
  std::int64_t vocabulary = 0;
  double bytes_per_token = 0;  // charged bytes a scored target
  double uncertainty = 0;      // of it, either way: some are known to two digits only
  std::optional<std::int64_t> tokens, scored, charged_bytes, scored_bytes;
  std::optional<std::int64_t> leading_space_tokens, byte_tokens;  // of the whole set
  std::string note;

  std::optional<std::int64_t> targets() const {
    return scored ? scored : tokens ? std::optional(*tokens - 1) : std::nullopt;
  }
};
struct KnownDenominator {
  std::int64_t bytes = 0;
  std::string name;
  bool fault = false;  // the bytes are not those of the text
};
struct KnownFault {
  std::string name;
  double from = 1, to = 1;  // factor on the right denominator
};
struct KnownSplit {
  std::string name;
  std::optional<std::int64_t> scored, documents, vocabulary;
  double bytes_per_token = 0;  // 0: not known
};

struct Registry {
  std::string validation_name;
  std::int64_t documents = 0, charged_bytes = 0;  // of the validation set
  std::vector<KnownTokenizer> tokenizers;
  std::vector<KnownDenominator> denominators;
  std::vector<KnownFault> faults;
  std::vector<KnownSplit> splits;

  // The tokenizer whose bytes per token are nearest, by ratio; null in an empty registry.
  const KnownTokenizer* nearest(double bytes_per_token) const;
  // The denominator with exactly this many bytes.
  const KnownDenominator* exact(std::int64_t bytes) const;
  // The fault whose range holds the factor.
  const KnownFault* fault(double factor) const;
  // The names of all denominators from `lowest` to `highest` bytes.
  std::vector<std::string> denominators_between(double lowest, double highest) const;
};

// The registry of a TOML file of the same form.
Result<Registry> read_registry(const std::string& path);
// The built-in registry; what is wrong with it would be an internal error, so it is checked by tests.
Result<Registry> load_registry();
Result<Registry> parse_registry(std::string_view toml, const std::string& path);

}  // namespace par5
