#include "train/spectral_embedding.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/text.h"

namespace par5 {
namespace {

constexpr std::uint64_t kMostTokens = std::uint64_t{1} << 25, kPiece = std::uint64_t{1} << 16;
constexpr std::int64_t kSpareVectors = 16;  // beyond those wanted: what makes subspace iteration exact enough
constexpr int kIterations = 6;

// LibTorch would print once that its sparse matrices are in beta.
class NoWarnings final : public c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

// Calls work(tokens) for pieces of the stream, in order.
template <class Work>
void each_piece(const ShardReader& shards, const Work& work) {
  const std::uint64_t all = shards.tokens();
  const std::uint64_t pieces = (std::min(all, kMostTokens) + kPiece - 1) / kPiece;
  std::vector<std::uint16_t> tokens;
  for (std::uint64_t piece = 0; piece < pieces; ++piece) {
    const std::uint64_t begin = all <= kMostTokens ? piece * kPiece : piece * (all - kPiece) / (pieces - 1);
    tokens.resize(std::min(kPiece, all - begin));
    shards.read(begin, tokens);
    work(std::span<const std::uint16_t>(tokens));
  }
}

struct Counts {
  std::vector<std::int64_t> tokens;      // [vocab]
  std::vector<std::int64_t> row_begins;  // [vocab + 1]: where a token's pairs begin
  std::vector<std::int64_t> columns;     // second tokens of the pairs, ascending in a row
  std::vector<std::int64_t> pairs;       // how often
};

Counts count_pairs(const ShardReader& shards, std::size_t vocab) {
  Counts counts;
  counts.tokens.assign(vocab, 0);
  std::vector<std::size_t> ends(vocab + 1, 0);  // of first tokens' followers
  each_piece(shards, [&](std::span<const std::uint16_t> tokens) {
    for (const std::uint16_t token : tokens) ++counts.tokens[token];
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) ++ends[tokens[i] + std::size_t{1}];
  });
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<std::uint16_t> followers(ends.back());
  std::vector<std::size_t> next(ends.begin(), ends.end() - 1);
  each_piece(shards, [&](std::span<const std::uint16_t> tokens) {
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) followers[next[tokens[i]]++] = tokens[i + 1];
  });
  counts.row_begins.push_back(0);
  for (std::size_t token = 0; token < vocab; ++token) {
    const auto row = std::span(followers).subspan(ends[token], ends[token + 1] - ends[token]);
    std::sort(row.begin(), row.end());
    for (std::size_t i = 0; i < row.size();) {
      const std::size_t begin = i;
      while (i < row.size() && row[i] == row[begin]) ++i;
      counts.columns.push_back(row[begin]);
      counts.pairs.push_back(static_cast<std::int64_t>(i - begin));
    }
    counts.row_begins.push_back(static_cast<std::int64_t>(counts.columns.size()));
  }
  return counts;
}

// Of every pair: max(0, ln(its share / (its first token's share among first tokens · its second's among second))).
torch::Tensor mutual_information(const Counts& counts, std::int64_t vocab) {
  const auto rows = static_cast<std::size_t>(vocab);
  std::vector<double> firsts(rows, 0), seconds(rows, 0);
  double all = 0;
  for (std::size_t row = 0; row < rows; ++row)
    for (auto i = static_cast<std::size_t>(counts.row_begins[row]);
         i < static_cast<std::size_t>(counts.row_begins[row + 1]); ++i) {
      const auto count = static_cast<double>(counts.pairs[i]);
      firsts[row] += count;
      seconds[static_cast<std::size_t>(counts.columns[i])] += count;
      all += count;
    }
  std::vector<float> values;
  values.reserve(counts.pairs.size());
  for (std::size_t row = 0; row < rows; ++row)
    for (auto i = static_cast<std::size_t>(counts.row_begins[row]);
         i < static_cast<std::size_t>(counts.row_begins[row + 1]); ++i) {
      const double expected = firsts[row] * seconds[static_cast<std::size_t>(counts.columns[i])] / all;
      values.push_back(static_cast<float>(std::max(0.0, std::log(static_cast<double>(counts.pairs[i]) / expected))));
    }
  const auto tensor = [](const auto& numbers, torch::ScalarType type) {
    return torch::tensor(numbers, torch::dtype(type));
  };
  return torch::sparse_csr_tensor(tensor(counts.row_begins, torch::kInt64), tensor(counts.columns, torch::kInt64),
                                  tensor(values, torch::kFloat32), {vocab, vocab},
                                  torch::dtype(torch::kFloat32).layout(torch::kSparseCsr));
}

}  // namespace

SpectralEmbedding spectral_embedding(const ShardReader& shards, std::int64_t width, double deviation,
                                     std::uint64_t seed) {
  const torch::NoGradGuard no_gradients;
  NoWarnings quiet;
  const c10::WarningUtils::WarningHandlerGuard guard(&quiet);
  const auto vocab = static_cast<std::int64_t>(shards.manifest().token_bytes.vocab());
  const Counts counts = count_pairs(shards, static_cast<std::size_t>(vocab));
  const torch::Tensor forwards = mutual_information(counts, vocab);
  const torch::Tensor backwards = forwards.transpose(0, 1).to_sparse_csr();
  const auto product = [&](const torch::Tensor& x) {
    return forwards.mm(backwards.mm(x)) + backwards.mm(forwards.mm(x));
  };
  const auto generator = at::detail::createCPUGenerator(seed);
  const auto normal = [&](std::int64_t columns) { return torch::randn({vocab, columns}, generator, torch::kFloat32); };

  const std::int64_t vectors = std::min(width + kSpareVectors, vocab), taken = std::min(width, vocab);
  torch::Tensor basis = std::get<0>(torch::linalg_qr(normal(vectors)));
  for (int i = 0; i < kIterations; ++i) basis = std::get<0>(torch::linalg_qr(product(basis)));
  const auto [squares, turns] = torch::linalg_eigh(basis.t().mm(product(basis)), "U");  // ascending
  const torch::Tensor scales = squares.narrow(0, vectors - taken, taken).clamp_min(0).pow(0.25);
  torch::Tensor embedding = torch::zeros({vocab, width});
  embedding.narrow(1, 0, taken).copy_(basis.mm(turns.narrow(1, vectors - taken, taken)) * scales);
  embedding *= deviation / embedding.square().mean().sqrt().clamp_min(1e-30);
  const torch::Tensor empty = embedding.abs().amax(1, true) < 1e-6 * deviation;
  embedding = torch::where(empty, normal(width) * deviation, embedding);

  const torch::Tensor shares = (torch::tensor(counts.tokens, torch::kFloat64) + 1).log();
  return {embedding, (shares - shares.mean()).to(torch::kFloat32)};
}

InitialWeights initial_weights(const Config& config, const ShardReader& shards, bool resumed) {
  const auto seed = static_cast<std::uint64_t>(config.train.seed);
  InitialWeights initial{config.train.init_std, config.train.embedding_init_std, seed};
  if (config.train.embedding_init == EmbeddingInit::normal || resumed) return initial;
  const auto began = std::chrono::steady_clock::now();
  const std::int64_t width = config.model.factored_embedding() ? config.model.embedding_width : config.model.width;
  SpectralEmbedding counted = spectral_embedding(shards, width, config.train.embedding_init_std, seed);
  initial.embedding = std::move(counted.embedding);
  initial.vocab_bias = std::move(counted.vocab_bias);
  log_info("counted neighbours and found the embedding's first values in " +
           duration(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count()));
  return initial;
}

}  // namespace par5
