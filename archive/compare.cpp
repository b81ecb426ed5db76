#include <bit>

#include "archive/artifact.h"

namespace par5 {
namespace {

bool same(const std::optional<ScaleDeltas>& a, const std::optional<ScaleDeltas>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->bits == b->bits && a->anchor == b->anchor && a->step == b->step && a->deltas == b->deltas;
}
bool same(const QuantizedTensor& a, const QuantizedTensor& b) {
  return a.shape == b.shape && a.quantizer == b.quantizer && a.codes == b.codes && a.scales == b.scales &&
         same(a.deltas, b.deltas);
}
bool same(const Fp8Tensor& a, const Fp8Tensor& b) { return a.codes == b.codes && a.exponent == b.exponent; }
bool same(const Fp16Tensor& a, const Fp16Tensor& b) { return a.codes == b.codes; }

bool same(const StoredTensor& a, const StoredTensor& b) {
  return a.spec.name == b.spec.name && a.spec.shape == b.spec.shape && a.data.index() == b.data.index() &&
         std::visit(
             [&b](const auto& data) { return same(data, std::get<std::remove_cvref_t<decltype(data)>>(b.data)); },
             a.data);
}

}  // namespace

bool same_artifact(const Artifact& a, const Artifact& b) {
  if (!(a.model.model == b.model.model && a.model.quantizer == b.model.quantizer && a.tokenizer == b.tokenizer &&
        a.tokenizer_sha256 == b.tokenizer_sha256 && a.temperature == b.temperature && a.self_test == b.self_test &&
        a.extras == b.extras && a.model.tensors.size() == b.model.tensors.size()))
    return false;
  for (std::size_t i = 0; i < a.model.tensors.size(); ++i)
    if (!same(a.model.tensors[i], b.model.tensors[i])) return false;
  return true;
}

}  // namespace par5
