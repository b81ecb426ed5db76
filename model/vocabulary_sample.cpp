#include "model/vocabulary_sample.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace par5 {

VocabularySample sample_vocabulary(const torch::Tensor& targets, const torch::Tensor& weights,
                                   const HeadSample& settings) {
  const torch::Tensor flat = targets.flatten().contiguous(), weighed = weights.to(torch::kFloat64).contiguous();
  const auto* const ids = flat.const_data_ptr<std::int64_t>();
  const auto* const weight = weighed.const_data_ptr<double>();
  const auto vocab = static_cast<std::size_t>(weighed.numel());
  constexpr std::int64_t kOther = -1, kTarget = -2;
  std::vector<std::int64_t> place(vocab, kOther);
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    TORCH_CHECK_VALUE(ids[i] >= 0 && ids[i] < weighed.numel(), "target ", ids[i], " is outside the vocabulary of ",
                      vocab, " tokens");
    place[static_cast<std::size_t>(ids[i])] = kTarget;
  }
  double all = 0, others = 0;
  for (std::size_t token = 0; token < vocab; ++token)
    if (place[token] == kOther) all += weight[token], ++others;
  // Points at equal distances on a line on which each token is as long as its weight (systematic sampling): it is in
  // with the probability weight / distance, or for certain where that is more than 1.
  const double distance = all * static_cast<double>(settings.one_of) / std::max(others, 1.0);
  std::mt19937_64 random(settings.seed);
  double next = distance * static_cast<double>(random() >> 11) * 0x1p-53, end = 0;
  std::vector<std::int64_t> tokens;
  std::vector<float> offsets;
  for (std::size_t token = 0; token < vocab; ++token) {
    bool taken = place[token] == kTarget;
    double offset = 0;
    if (!taken) {
      end += weight[token];
      for (; next < end; next += distance) taken = true;
      offset = std::max(0.0, std::log(distance / weight[token]));
    }
    if (!taken) continue;
    place[token] = static_cast<std::int64_t>(tokens.size());
    tokens.push_back(static_cast<std::int64_t>(token));
    offsets.push_back(static_cast<float>(offset));
  }
  VocabularySample sample;
  sample.tokens = torch::tensor(tokens, torch::kInt64);
  sample.offsets = torch::tensor(offsets, torch::kFloat32);
  sample.targets = torch::empty_like(flat);
  auto* const out = sample.targets.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < flat.numel(); ++i) out[i] = place[static_cast<std::size_t>(ids[i])];
  return sample;
}

}  // namespace par5
