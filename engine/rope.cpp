#include "engine/rope.h"

#include "core/half.h"
#include "engine/elementary.h"

namespace par5 {
namespace {

double to_bfloat16(double value) { return static_cast<double>(round_to_bfloat16(static_cast<float>(value))); }

double frequency(const ModelConfig& model, std::size_t pair) {
  const double fraction = 2.0 * static_cast<double>(pair) / static_cast<double>(model.head_width());
  const double plain = exact::pow64(model.rope_base, -fraction);
  if (model.rope_scaling == RopeScaling::none) return plain;
  const double stretch = static_cast<double>(model.rope_max_context) / static_cast<double>(model.context);
  const double unclamped = (fraction - 0.25) / 0.75;
  const double ramp = unclamped < 0.0 ? 0.0 : unclamped > 1.0 ? 1.0 : unclamped;
  return plain / (ramp * (stretch - 1.0) + 1.0);
}

}  // namespace

RotaryTable make_rotary_table(const ModelConfig& model, std::size_t positions) {
  RotaryTable table;
  table.half = static_cast<std::size_t>(model.head_width() / 2);
  table.cosines.resize(positions * table.half);
  table.sines.resize(positions * table.half);
  const bool published = model.rope_angles == RopeAngles::bfloat16;
  for (std::size_t pair = 0; pair < table.half; ++pair) {
    const double step = published ? to_bfloat16(frequency(model, pair)) : frequency(model, pair);
    for (std::size_t position = 0; position < positions; ++position) {
      const auto exact_position = static_cast<double>(position);
      const double angle = published ? to_bfloat16(to_bfloat16(exact_position) * step) : exact_position * step;
      const double cosine = exact::cos64(angle), sine = exact::sin64(angle);
      table.cosines[position * table.half + pair] = static_cast<float>(published ? to_bfloat16(cosine) : cosine);
      table.sines[position * table.half + pair] = static_cast<float>(published ? to_bfloat16(sine) : sine);
    }
  }
  return table;
}

}  // namespace par5
