#include "train/sampler.h"

#include <algorithm>

#include "train/loader.h"

namespace par5 {

std::vector<std::uint16_t> sample_tokens(Network& network, std::uint16_t first, std::int64_t count,
                                         std::int64_t context, std::uint64_t seed) {
  const torch::NoGradGuard no_gradients;
  SplitMix64 random(seed);
  std::vector<std::int64_t> text = {first};
  for (std::int64_t i = 0; i < count; ++i) {
    const auto length = std::min(static_cast<std::int64_t>(text.size()), context);
    const torch::Tensor window = torch::tensor(std::vector<std::int64_t>(text.end() - length, text.end())).unsqueeze(0);
    const torch::Tensor hidden = network.hidden(window.to(network.device()));
    const torch::Tensor logits = network.logits(hidden.narrow(1, length - 1, 1).flatten(0, 1));
    const torch::Tensor shares = at::softmax(logits.cpu().to(torch::kFloat64).squeeze(0), 0);
    const double* share = shares.const_data_ptr<double>();
    double left = static_cast<double>(random.next() >> 11) * 0x1p-53;
    std::int64_t token = 0;
    while (token + 1 < shares.numel() && left >= share[token]) left -= share[token++];
    text.push_back(token);
  }
  return {text.begin() + 1, text.end()};
}

}  // namespace par5
