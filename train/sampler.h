// Samples of text during training.
#pragma once

#include <cstdint>
#include <vector>

#include "model/network.h"

namespace par5 {

// `count` tokens drawn one after the other from the network's distribution, after the token `first` (a BOS); the whole
// text so far is the context, up to `context` tokens. The same seed gives the same tokens.
std::vector<std::uint16_t> sample_tokens(Network& network, std::uint16_t first, std::int64_t count,
                                         std::int64_t context, std::uint64_t seed);

}  // namespace par5
