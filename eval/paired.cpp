#include "eval/paired.h"

#include <cmath>
#include <numbers>
#include <vector>

namespace par5 {

std::optional<PairedDifference> paired_difference(std::span<const float> nats, std::span<const float> reference,
                                                  const EvalData& data) {
  struct Document {
    double bits = 0;
    double bytes = 0;
  };
  std::vector<Document> documents;
  double bits = 0, bytes = 0;
  for (std::size_t t = 1; t <= nats.size(); ++t) {
    // A document's targets begin behind its BOS, which is the last target of the one before.
    if (t == 1 || data.tokens[t - 1] == data.bos) documents.emplace_back();
    const double difference =
        (static_cast<double>(nats[t - 1]) - static_cast<double>(reference[t - 1])) / std::numbers::ln2;
    const auto charge = static_cast<double>(data.token_bytes.charge(data.tokens[t - 1], data.tokens[t]));
    documents.back().bits += difference;
    documents.back().bytes += charge;
    bits += difference;
    bytes += charge;
  }
  if (documents.size() < 2 || nats.size() != reference.size() || bytes == 0) return std::nullopt;
  const double ratio = bits / bytes;
  double squares = 0;
  for (const Document& document : documents) {
    const double residual = document.bits - ratio * document.bytes;
    squares += residual * residual;
  }
  const auto count = static_cast<double>(documents.size());
  const double margin = 1.96 * std::sqrt(count / (count - 1) * squares) / bytes;
  return PairedDifference{ratio, ratio - margin, ratio + margin, static_cast<std::int64_t>(documents.size())};
}

}  // namespace par5
