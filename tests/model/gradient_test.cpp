// Every custom differentiable function against LibTorch's own differentiation of the eager form in double precision,
// and that against finite differences.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "model/attention.h"
#include "model/head.h"
#include "model/network.h"
#include "model/operations.h"
#include "tests/model/random_model.h"

namespace par5 {
namespace {

using Tensors = std::vector<torch::Tensor>;
// Outputs of a function of tensors, in the given form and float type.
using Function = std::function<Tensors(const Tensors&, torch::ScalarType, Kernels)>;

torch::Tensor normal(at::IntArrayRef shape, double deviation = 1.0) {
  return torch::randn(shape, torch::kFloat64) * deviation;
}

// Sum over outputs of output · a fixed random tensor.
torch::Tensor contract(const Tensors& outputs) {
  torch::Tensor total = torch::zeros({}, torch::kFloat64);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    auto generator = at::detail::createCPUGenerator(100 + i);
    total =
        total + (outputs[i].to(torch::kFloat64) * torch::randn(outputs[i].sizes(), generator, torch::kFloat64)).sum();
  }
  return total;
}

Tensors gradients(const Function& function, const Tensors& inputs, torch::ScalarType type, Kernels kernels) {
  Tensors leaves;
  for (const torch::Tensor& input : inputs) leaves.push_back(input.to(type).detach().clone().requires_grad_());
  contract(function(leaves, type, kernels)).backward();
  Tensors result;
  for (const torch::Tensor& leaf : leaves) result.push_back(leaf.grad().to(torch::kFloat64));
  return result;
}

double relative(const torch::Tensor& ours, const torch::Tensor& theirs) {
  return ((ours - theirs).norm() / theirs.norm().clamp_min(1e-30)).item<double>();
}

void check(const Function& function, const Tensors& inputs) {
  const Tensors exact = gradients(function, inputs, torch::kFloat64, Kernels::eager);
  const Tensors fused = gradients(function, inputs, torch::kFloat32, Kernels::automatic);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_LE(relative(fused[i], exact[i]), 1e-5) << "gradient of input " << i;
    // Along one random direction.
    const torch::Tensor direction = normal(inputs[i].sizes());
    const double step = 1e-5;
    const auto moved = [&](double by) {
      Tensors at = inputs;
      at[i] = at[i] + by * direction;
      return contract(function(at, torch::kFloat64, Kernels::eager)).item<double>();
    };
    const double slope = (moved(step) - moved(-step)) / (2 * step),
                 expected = (exact[i] * direction).sum().item<double>();
    EXPECT_NEAR(slope, expected, 1e-5 * (1 + exact[i].norm().item<double>() * direction.norm().item<double>()));
  }
  const Tensors outputs = function(inputs, torch::kFloat64, Kernels::eager);
  Tensors narrow;
  for (const torch::Tensor& input : inputs) narrow.push_back(input.to(torch::kFloat32));
  const Tensors fused_outputs = function(narrow, torch::kFloat32, Kernels::automatic);
  for (std::size_t i = 0; i < outputs.size(); ++i)
    EXPECT_LE(relative(fused_outputs[i].to(torch::kFloat64), outputs[i]), 1e-5) << "output " << i;
}

class Gradients : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { torch::manual_seed(5); }
};

// Widths with and without a tail beyond whole vectors.
INSTANTIATE_TEST_SUITE_P(Widths, Gradients, testing::Values(8, 48, 50, 192));

TEST_P(Gradients, RmsNorm) {
  check([](const Tensors& in, torch::ScalarType type,
           Kernels kernels) { return Tensors{rms_norm(in[0], type, kernels)}; },
        {normal({7, GetParam()})});
}

TEST_P(Gradients, AddScaled) {
  const Function function = [](const Tensors& in, torch::ScalarType type, Kernels kernels) {
    const Normed out = add_scaled(in[0], in[1], in[2], Norm::rms, type, kernels);
    return Tensors{out.sum, out.normed};
  };
  check(function, {normal({37, GetParam()}), normal({37, GetParam()}), normal({GetParam()})});
}

TEST_P(Gradients, BorderInEveryForm) {
  const std::int64_t width = GetParam(), rows = 37;
  const torch::Tensor x = normal({rows, width}), branch = normal({rows, width}), scale = normal({width});
  const torch::Tensor x0 = normal({rows, width}), mix = normal({2, width}), skip = normal({rows, width});
  const torch::Tensor skip_weight = normal({width});
  for (const bool with_branch : {false, true})
    for (const int skip_form : {0, 1, 2}) {  // none; the end itself; another tensor
      Tensors inputs{x, x0, mix};
      if (with_branch) inputs.insert(inputs.end(), {branch, scale});
      if (skip_form > 0) inputs.push_back(skip_weight);
      if (skip_form > 1) inputs.push_back(skip);
      const Function function = [=](const Tensors& in, torch::ScalarType type, Kernels kernels) {
        BorderInputs border;
        std::size_t next = 3;
        border.x = in[0], border.x0 = in[1], border.mix = in[2];
        if (with_branch) border.branch = in[next++], border.scale = in[next++];
        if (skip_form > 0) border.skip_weight = in[next++];
        if (skip_form > 1) border.skip = in[next++];
        const Border out = cross_border(border, Norm::rms, type, kernels);
        return Tensors{out.end, out.sum, out.normed, out.x0};
      };
      SCOPED_TRACE(std::to_string(with_branch) + " " + std::to_string(skip_form));
      check(function, inputs);
    }
}

TEST_P(Gradients, SquaredRelu) {
  for (const Activation activation : {Activation::relu2, Activation::leaky_relu2})
    for (const bool with_norm : {false, true})
      check([=](const Tensors& in, torch::ScalarType,
                Kernels kernels) { return Tensors{activate(in[0], activation, with_norm, kernels)}; },
            {normal({33, GetParam()})});
}

TEST_P(Gradients, Attention) {
  const AttentionShape shape{2, 19, 4, 2, GetParam()};
  ModelConfig model;
  model.width = shape.heads * shape.head_width;
  model.heads = shape.heads;
  model.context = 16;
  model.rope_max_context = 32;
  const RopeTable rope = rope_table(model, shape.length, torch::kCPU);
  const Function function = [&](const Tensors& in, torch::ScalarType, Kernels kernels) {
    return Tensors{gained_attention(in[0], in[1], rope, shape, kernels)};
  };
  check(function, {normal({shape.batch * shape.length, 8 * shape.head_width}), 1.0 + normal({shape.heads}, 0.2)});
}

TEST_P(Gradients, HeadLoss) {
  const std::int64_t rows = 700, vocab = 4 * GetParam() + 3, width = 12;
  const torch::Tensor targets = torch::randint(vocab, {rows}, torch::kInt64);
  const torch::Tensor offsets = torch::rand({vocab}) * 3;
  for (const Softcap softcap : {Softcap::none, Softcap::tanh, Softcap::poly5})
    for (const bool with_bias : {false, true})
      for (const bool with_offsets : {false, true}) {
        const auto with = [=](auto&& form) -> Function {
          return [=](const Tensors& in, torch::ScalarType, Kernels kernels) {
            HeadSettings settings{softcap, 3.0, kernels};
            if (with_offsets) settings.offsets = offsets;
            const torch::Tensor bias = with_bias ? in[2] : torch::Tensor();
            return Tensors{form(in[0], in[1], bias, targets, 1e-2, settings).total};
          };
        };
        const Function blockwise = with(head_loss), eager = with(eager_head_loss);
        Tensors inputs{normal({rows, width}), normal({vocab, width})};
        if (with_bias) inputs.push_back(normal({vocab}));
        SCOPED_TRACE(static_cast<int>(softcap));
        check(blockwise, inputs);
        const Tensors ours = gradients(blockwise, inputs, torch::kFloat64, Kernels::eager);
        const Tensors theirs = gradients(eager, inputs, torch::kFloat64, Kernels::eager);
        for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_LE(relative(ours[i], theirs[i]), 1e-12);
      }
}

// The whole network: every weight's gradient, fused float32 against eager double, and bfloat16 in the neighbourhood.
TEST(NetworkGradients, AgreeWithTheEagerNetworkInDoublePrecision) {
  ModelConfig model;
  model.layers = 5, model.width = 96, model.heads = 4, model.kv_heads = 2, model.mlp_width = 192;
  model.vocab = 130, model.embedding_width = 32, model.context = 64, model.rope_max_context = 128,
  model.q_gain_init = 1.5;
  QuantizerConfig quantizer;
  quantizer.group = 48;
  // Errors in bfloat16 are a matter of luck: their squares are summed over several networks.
  const std::size_t count = tensor_specs(model).size();
  std::vector<double> narrow_squares(count), eager_squares(count);
  for (const std::uint64_t seed : {3, 4, 5}) {
    const StoredModel stored = testing_support::random_model(model, quantizer, seed);
    const torch::Tensor tokens = torch::tensor(testing_support::random_tokens(4 * 49, model.vocab, seed)).view({4, 49});
    const auto run = [&](torch::ScalarType type, Kernels kernels) {
      Network network(model, torch::kCPU, type, kernels);
      EXPECT_TRUE(network.load(stored));
      network.require_gradients(true, true);
      network.loss(tokens.narrow(1, 0, 48), tokens.narrow(1, 1, 48), 1e-3).total.backward();
      Tensors result;
      for (const NetworkWeight& weight : network.weights())
        result.push_back(weight.effective.grad().to(torch::kFloat64));
      return result;
    };
    const Tensors exact = run(torch::kFloat64, Kernels::eager), ours = run(torch::kFloat32, Kernels::automatic);
    const Tensors narrow = run(torch::kBFloat16, Kernels::automatic), eager = run(torch::kBFloat16, Kernels::eager);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      EXPECT_LE(relative(ours[i], exact[i]), 1e-4) << stored.tensors[i].spec.name;
      narrow_squares[i] += std::pow(relative(narrow[i], exact[i]), 2);
      eager_squares[i] += std::pow(relative(eager[i], exact[i]), 2);
    }
  }
  // bfloat16 has 8 bits; the fused form may not be further off than the eager one by more than a little.
  for (std::size_t i = 0; i < count; ++i)
    EXPECT_LE(std::sqrt(narrow_squares[i]), 1.3 * std::sqrt(eager_squares[i]) + 2e-3) << tensor_specs(model)[i].name;
}

TEST(NetworkGradients, OnlyWhatIsWanted) {
  ModelConfig model;
  model.layers = 2, model.width = 96, model.heads = 4, model.kv_heads = 2, model.mlp_width = 192;
  model.vocab = 64, model.embedding_width = 32;
  QuantizerConfig quantizer;
  quantizer.group = 48;
  Network network(model, torch::kCPU, torch::kFloat32);
  ASSERT_TRUE(network.load(testing_support::random_model(model, quantizer, 3)));
  network.require_gradients(false, true);
  const torch::Tensor tokens = torch::tensor(testing_support::random_tokens(33, model.vocab, 9)).view({1, 33});
  network.loss(tokens.narrow(1, 0, 32), tokens.narrow(1, 1, 32), 0.0).total.backward();
  for (const NetworkWeight& weight : network.weights())
    EXPECT_EQ(weight.effective.grad().defined(), weight.spec.calibration) << weight.spec.name;
}

}  // namespace
}  // namespace par5
