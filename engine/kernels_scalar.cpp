// The reference: the definitions of docs/arithmetic.md as plain loops.
#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/elementary.h"
#include "engine/frequencies.h"
#include "engine/kernels.h"

namespace par5 {
namespace {

constexpr std::size_t kLanes = 16;
constexpr float kRmsEpsilon = 0x1p-23f;
constexpr float kLayerEpsilon = 1e-5f;

// Lane i takes lane i + 8, then i + 4, i + 2, i + 1.
float join(float (&lanes)[kLanes]) {
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
  return lanes[0];
}

void decode(const PackedMatrix& matrix, std::size_t block, std::size_t first, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t o = 0; o < kBlock; ++o) out[i * kBlock + o] = weight_at(matrix, block * kBlock + o, first + i);
}

void product(const float* x, std::size_t x_stride, std::size_t rows, const float* panel, std::size_t panel_stride,
             std::size_t inputs, std::size_t outputs, bool start, float* out, std::size_t out_stride) {
  for (std::size_t r = 0; r < rows; ++r) {
    float* sums = out + r * out_stride;
    if (start) std::fill(sums, sums + outputs, 0.0f);
    for (std::size_t i = 0; i < inputs; ++i)
      for (std::size_t o = 0; o < outputs; ++o)
        sums[o] = std::fma(x[r * x_stride + i], panel[i * panel_stride + o], sums[o]);
  }
}

// The input that stands at a byte of a word [group][line][field] of quantised activations.
std::size_t activation_input(const PackedMatrix& matrix, std::size_t group, std::size_t line, std::size_t field,
                             std::size_t byte) {
  const std::size_t per_word = inputs_per_word(matrix.format);
  const std::size_t within = matrix.format == PackedFormat::base5 ? 3 * byte + field : 4 * field + byte;
  const std::size_t index = line * per_word + within;
  return index < matrix.group ? group * matrix.group + index : matrix.inputs;
}

void quantize_row(const float* x, const PackedMatrix& matrix, std::size_t, QuantizedRow out) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < matrix.inputs; ++i)
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu);
  const float maximum = std::bit_cast<float>(largest);
  const bool usable = maximum >= 0x1p-100f && maximum <= 0x1.fffffep+127f;
  const float factor = usable ? 127.0f / maximum : 0.0f;
  *out.step = usable ? maximum / 127.0f : maximum < 0x1p-100f ? 0.0f : maximum - maximum;
  const std::size_t fields = inputs_per_word(matrix.format) / 4;
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    std::int32_t sum = 0;
    for (std::size_t line = 0; line < matrix.lines; ++line)
      for (std::size_t field = 0; field < fields; ++field) {
        std::uint32_t word = 0;
        for (std::size_t byte = 0; byte < 4; ++byte) {
          const std::size_t input = activation_input(matrix, group, line, field, byte);
          if (input >= matrix.inputs || !usable) continue;
          const float rounded = (x[input] * factor + exact::kRounder) - exact::kRounder;
          const int code = static_cast<int>(rounded);
          sum += code;
          word |= (static_cast<std::uint32_t>(code) & 0xffu) << (8 * byte);
        }
        out.words[(group * matrix.lines + line) * fields + field] = word;
      }
    out.starts[group] = -matrix.offset * sum;
  }
}

// int8 product of one row and output. Reads activations from their words, so that it checks their order too.
float integer_output(const PackedMatrix& matrix, std::size_t output, const std::uint32_t* words, float step) {
  const std::size_t fields = inputs_per_word(matrix.format) / 4;
  float sum = 0.0f;
  for (std::size_t group = 0; group < matrix.groups; ++group) {
    std::int32_t exact_sum = 0;
    for (std::size_t line = 0; line < matrix.lines; ++line)
      for (std::size_t field = 0; field < fields; ++field)
        for (std::size_t byte = 0; byte < 4; ++byte) {
          const std::size_t input = activation_input(matrix, group, line, field, byte);
          if (input >= matrix.inputs) continue;
          const std::uint32_t word = words[(group * matrix.lines + line) * fields + field];
          const int activation = static_cast<std::int8_t>(static_cast<std::uint8_t>(word >> (8 * byte)));
          exact_sum += activation * code_at(matrix, output, input);
        }
    const float scale = matrix.panel_scales(output / kPanel)[group * kPanel + output % kPanel];
    sum = std::fma(static_cast<float>(exact_sum), scale, sum);
  }
  return sum * step;
}

void integer_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const QuantizedRows& x,
                     float* out, std::size_t out_stride) {
  const std::size_t words = activation_words(matrix, x.rows);
  for (std::size_t r = 0; r < x.rows; ++r)
    for (std::size_t o = 0; o < count * kBlock; ++o)
      out[r * out_stride + o] = integer_output(matrix, first * kBlock + o, x.words + r * words, x.steps[r]);
}

// The multiple of each input for each code + offset. 2x is x + x.
void adds_tables(const float* x, const PackedMatrix& matrix, float* out) {
  for (std::size_t i = 0; i < matrix.inputs; ++i, out += kMultiples) {
    const float multiples[5] = {-(x[i] + x[i]), -x[i], 0.0f, x[i], x[i] + x[i]};
    std::fill(out, out + kMultiples, 0.0f);
    for (int code = -matrix.offset; code <= matrix.offset; ++code) out[code + matrix.offset] = multiples[code + 2];
  }
}

void adds_product(const PackedMatrix& matrix, std::size_t first, std::size_t count, const float* tables,
                  std::size_t rows, float* out, std::size_t out_stride) {
  const std::size_t row_floats = table_floats(matrix);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t o = 0; o < count * kBlock; ++o) {
      const std::size_t output = first * kBlock + o;
      const auto multiple = [&](std::size_t input) {
        return tables[r * row_floats + input * kMultiples +
                      static_cast<std::size_t>(code_at(matrix, output, input) + matrix.offset)];
      };
      float total = 0.0f;
      for (std::size_t group = 0; group < matrix.groups; ++group) {
        const std::size_t begin = group * matrix.group, end = std::min(begin + matrix.group, matrix.inputs);
        float sum = 0.0f;
        for (std::size_t i = begin; i < end; i += 2)
          sum = sum + (i + 1 < end ? multiple(i) + multiple(i + 1) : multiple(i));
        total = std::fma(sum, matrix.panel_scales(output / kPanel)[group * kPanel + output % kPanel], total);
      }
      out[r * out_stride + o] = total;
    }
}

void rms_norm(const float* x, std::size_t n, float* out) {
  float lanes[kLanes] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i % kLanes] = std::fma(x[i], x[i], lanes[i % kLanes]);
  const float mean = join(lanes) / static_cast<float>(n);
  const float factor = 1.0f / std::sqrt(mean + kRmsEpsilon);
  for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * factor;
}

void layer_norm(const float* x, std::size_t n, float* out) {
  float sums[kLanes] = {}, squares[kLanes] = {};
  for (std::size_t i = 0; i < n; ++i) sums[i % kLanes] = sums[i % kLanes] + x[i];
  const float mean = join(sums) / static_cast<float>(n);
  for (std::size_t i = 0; i < n; ++i) {
    const float difference = x[i] - mean;
    squares[i % kLanes] = std::fma(difference, difference, squares[i % kLanes]);
  }
  const float variance = join(squares) / static_cast<float>(n);
  const float factor = 1.0f / std::sqrt(variance + kLayerEpsilon);
  for (std::size_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * factor;
}

void multiply(const float* x, const float* y, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * y[i];
}

void scale(const float* x, float factor, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = x[i] * factor;
}

void add(const float* x, const float* y, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = x[i] + y[i];
}

void add_scaled(const float* x, const float* factors, const float* y, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = std::fma(factors[i], y[i], x[i]);
}

void mix(const float* x, const float* x0, const float* mix_x, const float* mix_x0, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = std::fma(mix_x[i], x[i], mix_x0[i] * x0[i]);
}

void activate(Activation activation, const float* x, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    switch (activation) {
      case Activation::relu2: {
        const float positive = x[i] > 0.0f ? x[i] : 0.0f;
        out[i] = positive * positive;
        break;
      }
      case Activation::leaky_relu2: {
        const float leaky = x[i] > 0.0f ? x[i] : 0.5f * x[i];
        out[i] = leaky * leaky;
        break;
      }
      case Activation::swiglu:
        out[i] = exact::silu(x[i]) * x[n + i];
        break;
      case Activation::gelu:
        out[i] = exact::gelu(x[i]);
        break;
    }
  }
}

void rotate(float* head, std::size_t half, const float* cosines, const float* sines) {
  for (std::size_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[half + i];
    head[i] = std::fma(a, cosines[i], b * sines[i]);
    head[half + i] = std::fma(b, cosines[i], -(a * sines[i]));
  }
}

float softmax(float* scores, std::size_t n, float factor) {
  float largest = -HUGE_VALF;
  for (std::size_t i = 0; i < n; ++i) {
    scores[i] = scores[i] * factor;
    if (scores[i] > largest) largest = scores[i];
  }
  float lanes[kLanes] = {};
  for (std::size_t i = 0; i < n; ++i) {
    scores[i] = exact::exp(scores[i] - largest);
    lanes[i % kLanes] = lanes[i % kLanes] + scores[i];
  }
  return 1.0f / join(lanes);
}

float softcapped(float z, Softcap softcap, float cap, float inverse) {
  switch (softcap) {
    case Softcap::none:
      return z;
    case Softcap::tanh:
      return cap * exact::tanh(z * inverse);
    case Softcap::poly5:
      break;
  }
  const float scaled = z * inverse;
  const float low = scaled > -2.0f ? scaled : -2.0f;
  const float u = low < 2.0f ? low : 2.0f;
  const float s = u * u;
  const float p = std::fma(s, std::fma(s, 1.0f / 15.0f, -1.0f / 3.0f), 1.0f);
  const float t = u * p;
  const float above = t > -1.0f ? t : -1.0f;
  return cap * (above < 1.0f ? above : 1.0f);
}

bool finish_logits(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* out) {
  const float inverse = 1.0f / cap;
  bool finite = true;
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = softcapped(bias ? z[i] + bias[i] : z[i], softcap, cap, inverse);
    finite = finite && std::isfinite(out[i]);
  }
  return finite;
}

void log_softmax(const float* logits, std::size_t n, float* out) {
  float largest = -HUGE_VALF;
  for (std::size_t i = 0; i < n; ++i)
    if (logits[i] > largest) largest = logits[i];
  float lanes[kLanes] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i % kLanes] = lanes[i % kLanes] + exact::exp(logits[i] - largest);
  const auto log_sum = static_cast<float>(exact::log64(static_cast<double>(join(lanes))));
  for (std::size_t i = 0; i < n; ++i) out[i] = (logits[i] - largest) - log_sum;
}

void exponentials(const float* logits, std::size_t n, float* out) {
  float largest = -HUGE_VALF;
  for (std::size_t i = 0; i < n; ++i)
    if (logits[i] > largest) largest = logits[i];
  for (std::size_t i = 0; i < n; ++i) out[i] = exact::exp(logits[i] - largest);
}

std::uint64_t frequencies(const float* exponentials, std::size_t n, double factor, std::uint64_t* out) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < n; ++i) {
    // A binary32 value times a power of two is exact in binary64.
    out[i] = 1 + static_cast<std::uint64_t>(static_cast<double>(exponentials[i]) * factor);
    total += out[i];
  }
  return total;
}

void log_shares_of(const std::uint64_t* frequencies, std::uint64_t total, std::size_t n, float* out) {
  log_shares({frequencies, n}, total, {out, n});
}

bool all_finite(const float* x, std::size_t n) {
  return std::all_of(x, x + n, [](float v) { return (std::bit_cast<std::uint32_t>(v) & 0x7f800000u) != 0x7f800000u; });
}

float dot(const float* x, const float* y, std::size_t n) {
  float lanes[kLanes] = {};
  for (std::size_t i = 0; i < n; ++i) lanes[i % kLanes] = std::fma(x[i], y[i], lanes[i % kLanes]);
  return join(lanes);
}

void add_multiple(const float* x, float factor, const float* y, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = std::fma(factor, y[i], x[i]);
}

void activation_gradient(Activation activation, const float* x, const float* d, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    switch (activation) {
      case Activation::relu2:
        out[i] = x[i] > 0.0f ? (x[i] + x[i]) * d[i] : 0.0f;
        break;
      case Activation::leaky_relu2:
        out[i] = (x[i] > 0.0f ? x[i] + x[i] : 0.5f * x[i]) * d[i];
        break;
      case Activation::swiglu: {
        const float gate = x[i], up = x[n + i], sigmoid = 1.0f / (1.0f + exact::exp(-gate));
        out[i] = (d[i] * up) * (sigmoid * std::fma(gate, 1.0f - sigmoid, 1.0f));
        out[n + i] = d[i] * (gate * sigmoid);
        break;
      }
      case Activation::gelu: {
        const float below = 0.5f * (1.0f + exact::erf(x[i] * exact::kSqrtHalf));
        const float density = exact::exp(-0.5f * (x[i] * x[i])) * exact::kInverseSqrtTwoPi;
        out[i] = std::fma(x[i], density, below) * d[i];
        break;
      }
    }
  }
}

void softmax_gradient(const float* p, std::size_t n, float mean, float factor, float* d) {
  for (std::size_t i = 0; i < n; ++i) d[i] = (p[i] * (d[i] - mean)) * factor;
}

float softcap_slope(float z, Softcap softcap, float inverse) {
  if (softcap == Softcap::none) return 1.0f;
  const float u = z * inverse;
  if (softcap == Softcap::tanh) {
    const float t = exact::tanh(u);
    return 1.0f - t * t;
  }
  const float s = u * u;
  const float t = u * std::fma(s, std::fma(s, 1.0f / 15.0f, -1.0f / 3.0f), 1.0f);
  const bool inside = u > -2.0f && u < 2.0f && t > -1.0f && t < 1.0f;
  return inside ? std::fma(s, std::fma(s, 1.0f / 3.0f, -1.0f), 1.0f) : 0.0f;
}

void softcap_gradient(const float* z, const float* bias, Softcap softcap, float cap, std::size_t n, float* d) {
  const float inverse = 1.0f / cap;
  for (std::size_t i = 0; i < n; ++i) d[i] = d[i] * softcap_slope(bias ? z[i] + bias[i] : z[i], softcap, inverse);
}

}  // namespace

const Kernels& scalar_kernels() {
  static const Kernels kernels = {.name = "scalar",
                                  .packing = Packing::bits,
                                  .integer_packing = Packing::bits,
                                  .adds_packing = Packing::bits,
                                  .decode = decode,
                                  .product = product,
                                  .row_product = nullptr,
                                  .quantize_row = quantize_row,
                                  .integer_product = integer_product,
                                  .adds_tables = adds_tables,
                                  .adds_product = adds_product,
                                  .rms_norm = rms_norm,
                                  .layer_norm = layer_norm,
                                  .multiply = multiply,
                                  .scale = scale,
                                  .add = add,
                                  .add_scaled = add_scaled,
                                  .mix = mix,
                                  .activate = activate,
                                  .rotate = rotate,
                                  .softmax = softmax,
                                  .finish_logits = finish_logits,
                                  .log_softmax = log_softmax,
                                  .exponentials = exponentials,
                                  .frequencies = frequencies,
                                  .log_shares = log_shares_of,
                                  .all_finite = all_finite,
                                  .dot = dot,
                                  .add_multiple = add_multiple,
                                  .activation_gradient = activation_gradient,
                                  .softmax_gradient = softmax_gradient,
                                  .softcap_gradient = softcap_gradient};
  return kernels;
}

}  // namespace par5
