#include "model/rope.h"

#include <algorithm>
#include <cmath>

#include "core/half.h"

namespace par5 {
namespace {

float to_bfloat16(double value) { return round_to_bfloat16(static_cast<float>(value)); }

}  // namespace

RopeTable rope_table(const ModelConfig& model, std::int64_t length, torch::Device device) {
  const std::int64_t width = model.head_width(), half = width / 2;
  const bool published = model.rope_angles == RopeAngles::bfloat16;
  RopeTable table{torch::empty({length, half}), torch::empty({length, half})};
  auto cosine = table.cosine.accessor<float, 2>();
  auto sine = table.sine.accessor<float, 2>();
  for (std::int64_t pair = 0; pair < half; ++pair) {
    const double fraction = 2.0 * static_cast<double>(pair) / static_cast<double>(width);
    double frequency = std::pow(model.rope_base, -fraction);
    if (model.rope_scaling == RopeScaling::yarn) {
      const double stretch = static_cast<double>(model.rope_max_context) / static_cast<double>(model.context);
      frequency /= std::clamp((fraction - 0.25) / 0.75, 0.0, 1.0) * (stretch - 1.0) + 1.0;
    }
    for (std::int64_t position = 0; position < length; ++position) {
      if (published) {
        const double angle =
            to_bfloat16(double{to_bfloat16(static_cast<double>(position))} * double{to_bfloat16(frequency)});
        cosine[position][pair] = to_bfloat16(std::cos(angle));
        sine[position][pair] = to_bfloat16(std::sin(angle));
      } else {
        const double angle = static_cast<double>(position) * frequency;
        cosine[position][pair] = static_cast<float>(std::cos(angle));
        sine[position][pair] = static_cast<float>(std::sin(angle));
      }
    }
  }
  return {table.cosine.to(device), table.sine.to(device)};
}

torch::Tensor rotated(const torch::Tensor& x, const RopeTable& table) {
  const auto halves = x.chunk(2, -1);
  const torch::Tensor cosine = table.cosine.unsqueeze(1).to(x.scalar_type());
  const torch::Tensor sine = table.sine.unsqueeze(1).to(x.scalar_type());
  return at::cat({halves[0] * cosine + halves[1] * sine, halves[1] * cosine - halves[0] * sine}, -1);
}

}  // namespace par5
