// Reports that par5's own commands wrote (`--json`, receipts of `par5 time`) and that lie beside a run or in a
// submission: what checks that need running are answered from.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "budgets/records/record_folder.h"

namespace par5 {

struct EvidenceReport {
  std::string file;     // within the folder
  std::string command;  // "eval", "prove", "time", "tokenizer verify", "shard overlap", "compare", …
  std::string subject;  // of a receipt: the timed command's own name ("eval", "train"); else empty
  nlohmann::ordered_json json;

  // The number under a key; nothing where it is missing or no number.
  std::optional<double> number(const char* key) const;
};

// Every JSON file of the folder that has the keys `schema` and `command`, by name. audit.json, which is derived from
// the others, is left out.
std::vector<EvidenceReport> read_evidence(const RecordFolder& folder);

// Those of one command, and of a receipt those that timed `subject`.
std::vector<const EvidenceReport*> of_command(const std::vector<EvidenceReport>& reports, const std::string& command,
                                              const std::string& subject = {});

}  // namespace par5
