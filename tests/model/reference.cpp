#include "tests/model/reference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "core/half.h"

namespace par5::reference {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

class Forward {
 public:
  Forward(const StoredModel& stored, const std::vector<std::int64_t>& tokens, const Values& values)
      : stored_(stored), config_(stored.model), tokens_(tokens), values_(values) {}

  std::vector<double> run() { return config_.backbone == Backbone::unet ? unet() : gpt2(); }

 private:
  struct Matrix {
    std::size_t outputs = 0, inputs = 0;
    Row values;
  };

  Matrix matrix(const std::string& name) const {
    const StoredTensor* tensor = stored_.find(name);
    const std::vector<float> values = tensor->values();
    Matrix result;
    result.outputs = static_cast<std::size_t>(tensor->spec.shape[0]);
    result.inputs = tensor->spec.shape.size() > 1 ? static_cast<std::size_t>(tensor->spec.shape[1]) : 1;
    result.values.assign(values.begin(), values.end());
    if (const auto other = values_.find(name); other != values_.end()) result.values = other->second;
    return result;
  }

  static Row times(const Matrix& m, const Row& x) {
    Row y(m.outputs);
    for (std::size_t o = 0; o < m.outputs; ++o)
      for (std::size_t i = 0; i < m.inputs; ++i) y[o] += m.values[o * m.inputs + i] * x[i];
    return y;
  }

  static Row rms(const Row& x) {
    double sum = 0;
    for (const double v : x) sum += v * v;
    Row y(x);
    for (double& v : y) v /= std::sqrt(sum / static_cast<double>(x.size()) + std::pow(2.0, -23));
    return y;
  }

  Row norm(const Row& x) const {
    if (config_.norm == Norm::rms) return rms(x);
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(x.size());
    Row y(x);
    for (double& v : y) v = (v - mean) / std::sqrt(variance + 1e-5);
    return y;
  }

  // A linear layer with the norm that the configuration puts on its input.
  Row linear(const Matrix& m, const Row& x, bool output_projection) const {
    const bool normed =
        config_.linear_norm == LinearNorm::all || (config_.linear_norm == LinearNorm::outputs && output_projection);
    return times(m, normed ? rms(x) : x);
  }

  Row activation(const Row& h) const {
    Row y;
    const std::size_t half = h.size() / 2;
    switch (config_.activation) {
      case Activation::relu2:
        for (const double v : h) y.push_back(v > 0 ? v * v : 0);
        break;
      case Activation::leaky_relu2:
        for (const double v : h) y.push_back(v > 0 ? v * v : 0.25 * v * v);
        break;
      case Activation::swiglu:
        for (std::size_t i = 0; i < half; ++i) y.push_back(h[i] / (1 + std::exp(-h[i])) * h[half + i]);
        break;
      case Activation::gelu:
        for (const double v : h) y.push_back(0.5 * v * (1 + std::erf(v / std::sqrt(2.0))));
        break;
    }
    return y;
  }

  double frequency(std::size_t pair) const {
    const double dim = static_cast<double>(config_.head_width()), i = 2.0 * static_cast<double>(pair);
    double f = 1.0 / std::pow(config_.rope_base, i / dim);
    if (config_.rope_scaling == RopeScaling::yarn) {
      const double s = static_cast<double>(config_.context) / static_cast<double>(config_.rope_max_context);
      const double ramp = std::min(1.0, std::max(0.0, (i / dim - 0.25) / 0.75));
      f /= ramp * (1 / s - 1) + 1;
    }
    return f;
  }

  void rotate(double* head, std::size_t position) const {
    const auto half = static_cast<std::size_t>(config_.head_width() / 2);
    for (std::size_t pair = 0; pair < half; ++pair) {
      const double angle = static_cast<double>(position) * frequency(pair);
      const double a = head[pair], b = head[half + pair];
      head[pair] = a * std::cos(angle) + b * std::sin(angle);
      head[half + pair] = -a * std::sin(angle) + b * std::cos(angle);
    }
  }

  // q, k, v: one row per position, heads one after the other.
  Rows attention(const Rows& q, const Rows& k, const Rows& v) const {
    const auto width = static_cast<std::size_t>(config_.head_width());
    const auto heads = static_cast<std::size_t>(config_.heads), kv_heads = static_cast<std::size_t>(config_.kv_heads);
    Rows out(q.size(), Row(heads * width));
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t kv = h * kv_heads / heads;
      for (std::size_t t = 0; t < q.size(); ++t) {
        Row score(t + 1);
        double highest = -1e300, sum = 0;
        for (std::size_t s = 0; s <= t; ++s) {
          for (std::size_t i = 0; i < width; ++i) score[s] += q[t][h * width + i] * k[s][kv * width + i];
          score[s] /= std::sqrt(static_cast<double>(width));
          highest = std::max(highest, score[s]);
        }
        for (double& value : score) sum += value = std::exp(value - highest);
        for (std::size_t s = 0; s <= t; ++s)
          for (std::size_t i = 0; i < width; ++i) out[t][h * width + i] += score[s] / sum * v[s][kv * width + i];
      }
    }
    return out;
  }

  double softcap(double z) const {
    const double c = config_.softcap_value;
    switch (config_.softcap) {
      case Softcap::none:
        return z;
      case Softcap::tanh:
        return c * std::tanh(z / c);
      case Softcap::poly5: {
        const double u = std::min(2.0, std::max(-2.0, z / c));
        return c * std::min(1.0, std::max(-1.0, u * (1 - u * u / 3 + u * u * u * u / 15)));
      }
    }
    return z;
  }

  Rows unet_attention(const std::string& block, const Rows& x) const {
    Matrix wq, wk, wv;
    if (config_.fused_qkv) {
      const Matrix fused = matrix(block + "attn.c_qkv.weight");
      const auto d = static_cast<std::size_t>(config_.width);
      const auto kv = static_cast<std::size_t>(config_.kv_heads * config_.head_width());
      const auto rows = [&](std::size_t begin, std::size_t count) {
        const auto first = fused.values.begin() + static_cast<std::ptrdiff_t>(begin * d);
        return Matrix{count, d, Row(first, first + static_cast<std::ptrdiff_t>(count * d))};
      };
      wq = rows(0, d), wk = rows(d, kv), wv = rows(d + kv, kv);
    } else {
      wq = matrix(block + "attn.c_q.weight"), wk = matrix(block + "attn.c_k.weight"),
      wv = matrix(block + "attn.c_v.weight");
    }
    const Matrix proj = matrix(block + "attn.proj.weight"), gain = matrix(block + "attn.q_gain");
    const auto width = static_cast<std::size_t>(config_.head_width());
    Rows q, k, v;
    for (std::size_t t = 0; t < x.size(); ++t) {
      const Row n = norm(x[t]);
      q.push_back(linear(wq, n, false)), k.push_back(linear(wk, n, false)), v.push_back(linear(wv, n, false));
      for (Row* row : {&q[t], &k[t]})
        for (std::size_t begin = 0; begin < row->size(); begin += width) {
          const auto first = row->begin() + static_cast<std::ptrdiff_t>(begin);
          const Row head = rms(Row(first, first + static_cast<std::ptrdiff_t>(width)));
          std::copy(head.begin(), head.end(), first);
          rotate(row->data() + begin, t);
        }
      for (std::size_t i = 0; i < q[t].size(); ++i) q[t][i] *= gain.values[i / width];
    }
    Rows out;
    for (const Row& y : attention(q, k, v)) out.push_back(linear(proj, y, true));
    return out;
  }

  std::vector<double> unet() const {
    const Matrix embedding = matrix("tok_emb.weight");
    const auto d = static_cast<std::size_t>(config_.width), layers = static_cast<std::size_t>(config_.layers);
    Rows x, x0;
    for (const std::int64_t token : tokens_) {
      const auto first =
          embedding.values.begin() + static_cast<std::ptrdiff_t>(token) * static_cast<std::ptrdiff_t>(embedding.inputs);
      Row e(first, first + static_cast<std::ptrdiff_t>(embedding.inputs));
      if (config_.factored_embedding()) e = times(matrix("embed_proj.weight"), e);
      x.push_back(norm(e));
    }
    x0 = x;
    std::vector<Rows> stack;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const std::string block = "blocks." + std::to_string(layer) + ".";
      const std::size_t encoder = layers / 2;
      if (layer >= encoder && !stack.empty()) {
        const Matrix skip = matrix("skip_weights");
        for (std::size_t t = 0; t < x.size(); ++t)
          for (std::size_t i = 0; i < d; ++i) x[t][i] += skip.values[(layer - encoder) * d + i] * stack.back()[t][i];
        stack.pop_back();
      }
      const Matrix mix = matrix(block + "resid_mix"), attn_scale = matrix(block + "attn_scale"),
                   mlp_scale = matrix(block + "mlp_scale");
      for (std::size_t t = 0; t < x.size(); ++t)
        for (std::size_t i = 0; i < d; ++i) x[t][i] = mix.values[i] * x[t][i] + mix.values[d + i] * x0[t][i];
      const Rows attended = unet_attention(block, x);
      const Matrix fc =
          matrix(block + (config_.activation == Activation::swiglu ? "mlp.gate_up.weight" : "mlp.fc.weight"));
      const Matrix proj = matrix(block + "mlp.proj.weight");
      for (std::size_t t = 0; t < x.size(); ++t) {
        for (std::size_t i = 0; i < d; ++i) x[t][i] += attn_scale.values[i] * attended[t][i];
        const Row y = linear(proj, activation(linear(fc, norm(x[t]), false)), true);
        for (std::size_t i = 0; i < d; ++i) x[t][i] += mlp_scale.values[i] * y[i];
      }
      if (layer < encoder) stack.push_back(x);
    }
    std::vector<double> out;
    for (const Row& row : x) {
      Row h = norm(row);
      if (config_.factored_embedding()) h = times(matrix("embed_proj_rev.weight"), h);
      Row z = times(embedding, h);
      if (config_.vocab_bias) {
        const Matrix bias = matrix("vocab_bias");
        for (std::size_t i = 0; i < z.size(); ++i) z[i] += bias.values[i];
      }
      for (const double value : z) out.push_back(softcap(value));
    }
    return out;
  }

  std::vector<double> gpt2() const {
    const Matrix wte = matrix("transformer.wte.weight"), wpe = matrix("transformer.wpe.weight");
    const auto d = static_cast<std::size_t>(config_.width);
    const auto gained = [&](const Row& x, const std::string& name) {
      Row y = norm(x);
      const Matrix gain = matrix(name);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] *= gain.values[i];
      return y;
    };
    Rows x;
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
      Row e(d);
      for (std::size_t i = 0; i < d; ++i)
        e[i] = wte.values[static_cast<std::size_t>(tokens_[t]) * d + i] + wpe.values[t * d + i];
      x.push_back(e);
    }
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      const std::string block = "transformer.h." + std::to_string(layer) + ".";
      const Matrix c_attn = matrix(block + "attn.c_attn.weight"), c_proj = matrix(block + "attn.c_proj.weight");
      const Matrix c_fc = matrix(block + "mlp.c_fc.weight"), mlp_proj = matrix(block + "mlp.c_proj.weight");
      Rows q, k, v;
      for (const Row& row : x) {
        const Row qkv = linear(c_attn, gained(row, block + "ln_1.weight"), false);
        const auto part = [&](std::size_t n) {
          const auto first = qkv.begin() + static_cast<std::ptrdiff_t>(n * d);
          return Row(first, first + static_cast<std::ptrdiff_t>(d));
        };
        q.push_back(part(0)), k.push_back(part(1)), v.push_back(part(2));
      }
      const Rows mixed = attention(q, k, v);
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Row attended = linear(c_proj, mixed[t], true);
        for (std::size_t i = 0; i < d; ++i) x[t][i] += attended[i];
        const Row y = linear(mlp_proj, activation(linear(c_fc, gained(x[t], block + "ln_2.weight"), false)), true);
        for (std::size_t i = 0; i < d; ++i) x[t][i] += y[i];
      }
    }
    std::vector<double> out;
    for (const Row& row : x)
      for (const double z : times(wte, gained(row, "transformer.ln_f.weight"))) out.push_back(softcap(z));
    return out;
  }

  const StoredModel& stored_;
  const ModelConfig& config_;
  const std::vector<std::int64_t>& tokens_;
  const Values& values_;
};

}  // namespace

std::vector<double> logits(const StoredModel& model, const std::vector<std::int64_t>& tokens) {
  return Forward(model, tokens, {}).run();
}

std::vector<double> logits(const StoredModel& model, const std::vector<std::int64_t>& tokens, const Values& values) {
  return Forward(model, tokens, values).run();
}

double loss(const std::vector<double>& logits, const std::vector<std::int64_t>& targets, std::int64_t vocab,
            double z_loss) {
  double total = 0;
  const auto width = static_cast<std::size_t>(vocab);
  for (std::size_t row = 0; row < targets.size(); ++row) {
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += std::exp(logits[row * width + i]);
    const double logsum = std::log(sum);
    total += logsum - logits[row * width + static_cast<std::size_t>(targets[row])] + z_loss * logsum * logsum;
  }
  return total / static_cast<double>(targets.size());
}

}  // namespace par5::reference
