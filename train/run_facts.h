// Facts about a run that its configuration does not hold: run.json, and the tokenizer that evaluation wants.
#pragma once

#include <optional>
#include <string>

#include "core/error.h"
#include "tokenizer/shards/shards.h"
#include "train/precision.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace par5 {

// Version, hash of this program, LibTorch, device, type of matrix products, seed, hashes and counts of the data: the
// text of run.json.
Result<std::string> run_facts(const TrainRequest& request, const PrecisionChoice& precision, const ShardReader& shards,
                              const std::optional<ShardReader>& validation);

// Writes run.json; with `resume` the facts of earlier sessions are kept in it.
Status write_facts(const RunFolder& folder, const std::string& facts, bool resume);

// Copies the shards' tokenizer.model into the run folder where they carry it.
Status copy_tokenizer(const std::string& data, const RunFolder& folder);

}  // namespace par5
