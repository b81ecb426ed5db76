// A token embedding that counting gives, before any step of training.
#pragma once

#include <cstdint>

#include "core/config.h"
#include "model/latent.h"
#include "tokenizer/shards/shards.h"

namespace par5 {

struct SpectralEmbedding {
  torch::Tensor embedding;   // [vocab, width] float32
  torch::Tensor vocab_bias;  // [vocab] float32: natural logarithms of the tokens' shares, less their mean
};

// Tokens that stand beside the same tokens get similar rows: the leading eigenvectors of M·Mᵀ + Mᵀ·M, each times the
// square root of its singular value, where M holds the positive pointwise mutual information of every pair of
// neighbours in the text (Levy, Goldberg, Dagan 2015, with directed windows of one token). They are found by subspace
// iteration from random vectors (Halko, Martinsson, Tropp 2011). All values together have the root mean square
// `deviation`; tokens without neighbours get normal noise of it. At most about 33 million tokens are counted, in pieces
// spread evenly over the shards. Costs some seconds, 2 bytes for every
// counted token and some dozens for every pair that occurs.
SpectralEmbedding spectral_embedding(const ShardReader& shards, std::int64_t width, double deviation,
                                     std::uint64_t seed);

// What a run's weights begin with, as its settings say. Nothing is counted for a run that goes on from a checkpoint.
InitialWeights initial_weights(const Config& config, const ShardReader& shards, bool resumed);

}  // namespace par5
