// submission.json in all its spellings: the facts that audits need, each with the key that it was read from.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "budgets/records/located.h"
#include "core/error.h"

namespace par5 {

struct SeedResult {
  std::string seed;  // "42"
  std::optional<Located<PrintedNumber>> bpb, loss;
  std::optional<Located<double>> total_bytes, train_seconds, eval_seconds, tokens, bytes;
};

struct SubmissionJson {
  std::string file;
  bool strict = true;  // it was JSON as it stood, without repairs
  nlohmann::ordered_json json;

  std::optional<Located<std::string>> name, author, github_id, date, track;
  std::optional<Located<PrintedNumber>> bpb, loss;  // the headline
  std::optional<Located<double>> total_bytes, code_bytes, model_bytes, train_seconds, eval_seconds;
  std::optional<Located<double>> tokens, bytes, documents;  // scored
  std::vector<SeedResult> seeds;
  std::optional<std::size_t> seed_count;  // where a list or a number of seeds says so
  // Every number under a name that holds "byte" or "size", for whoever wants another reading.
  std::vector<Located<double>> sizes;
};

// Numbers may be strings ("15,724,839", "599 s"), nested to any depth, and named in many ways. A file that is no JSON
// after repairs, or no object, is bad_data.
Result<SubmissionJson> read_submission_json(std::string_view bytes, const std::string& file);

}  // namespace par5
