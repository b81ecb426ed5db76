#include "train/validation.h"

#include <algorithm>
#include <numbers>
#include <vector>

#include "core/progress.h"

namespace par5 {

double ChunkedScore::bits_per_byte() const { return nats / (std::numbers::ln2 * static_cast<double>(bytes)); }

Result<ChunkedScore> score_chunked(Network& network, const ShardReader& shards, const ChunkedOptions& options) {
  P5_OK(network.check_length(options.window));
  const torch::NoGradGuard no_gradients;
  const auto window = static_cast<std::uint64_t>(options.window);
  std::uint64_t targets = std::max<std::uint64_t>(shards.tokens(), 1) - 1;
  if (options.max_targets > 0) targets = std::min(targets, options.max_targets);
  const TokenBytes& charges = shards.manifest().token_bytes;
  const std::uint64_t batch = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(options.batch_tokens) / window);

  ChunkedScore score;
  std::vector<std::uint16_t> tokens;
  Progress progress("validation", targets, "targets");
  for (std::uint64_t position = 0; position < targets;) {
    if (options.stop && options.stop()) return interrupted();
    // As many whole windows as fit, or the tail alone: then one shorter window.
    const std::uint64_t left = targets - position;
    const std::uint64_t length = std::min(window, left), rows = std::clamp<std::uint64_t>(left / length, 1, batch);
    const std::uint64_t count = rows * length;
    tokens.resize(count + 1);
    shards.read(position, tokens);
    torch::Tensor stream = torch::empty({static_cast<std::int64_t>(count) + 1}, torch::kInt64);
    std::copy(tokens.begin(), tokens.end(), stream.mutable_data_ptr<std::int64_t>());
    stream = stream.to(network.device());
    const auto signed_count = static_cast<std::int64_t>(count);
    const torch::Tensor inputs =
        stream.narrow(0, 0, signed_count).view({static_cast<std::int64_t>(rows), static_cast<std::int64_t>(length)});
    const torch::Tensor hidden = network.hidden(inputs);
    const torch::Tensor nats = network.nats(hidden.reshape({signed_count, hidden.size(-1)}), stream.narrow(0, 1, signed_count));
    score.nats += nats.sum(torch::kFloat64).item<double>();
    for (std::size_t i = 1; i < tokens.size(); ++i) score.bytes += charges.charge(tokens[i - 1], tokens[i]);
    score.targets += count;
    position += count;
    progress.update(position);
  }
  if (score.bytes == 0) return bad_data("the validation data holds no target that is charged a byte");
  return score;
}

}  // namespace par5
