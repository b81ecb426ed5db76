// A slow forward pass in double precision, in plain loops, written from the published programs' description alone. It
// shares nothing with model/ but the stored weights.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pack/stored_model.h"

namespace par5::reference {

// Softcapped logits, row-major [tokens, vocab], of one sequence.
std::vector<double> logits(const StoredModel& model, const std::vector<std::int64_t>& tokens);
// The same with other values, row-major, for the tensors named in `values`.
using Values = std::map<std::string, std::vector<double>>;
std::vector<double> logits(const StoredModel& model, const std::vector<std::int64_t>& tokens, const Values& values);

// Mean of -log p(target) + z_loss · logsumexp² over the rows of such logits.
double loss(const std::vector<double>& logits, const std::vector<std::int64_t>& targets, std::int64_t vocab,
            double z_loss);

}  // namespace par5::reference
