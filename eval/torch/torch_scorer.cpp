#include "eval/torch/torch_scorer.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstring>

#include "core/text.h"
#include "model/runtime.h"

namespace par5 {
namespace {

// Probabilities that are held at a time: small enough to stay in the cache between softmax and sink.
constexpr std::int64_t kBlockValues = std::int64_t{1} << 20;

// Indices of the wanted rows among the [windows · length] positions of the batch.
torch::Tensor wanted_indices(const WindowBatch& batch) {
  torch::Tensor indices = torch::empty({batch.wanted_rows()}, torch::kInt64);
  std::int64_t* next = indices.data_ptr<std::int64_t>();
  for (std::int64_t w = 0; w < batch.windows(); ++w) {
    const PositionRange& range = batch.wanted[static_cast<std::size_t>(w)];
    for (std::int64_t p = range.first; p < range.last; ++p) *next++ = w * batch.length + p;
  }
  return indices;
}

}  // namespace

TorchScorer::TorchScorer(const ModelConfig& model, const TorchScorerOptions& options)
    : options_(options),
      network_(model, options.device, options.precision == Precision::bfloat16 ? torch::kBFloat16 : torch::kFloat32) {}

Result<std::unique_ptr<TorchScorer>> TorchScorer::create(const StoredModel& stored, const TorchScorerOptions& options) {
  if (!(options.temperature > 0))
    return bad_data("the model's temperature is " + std::to_string(options.temperature) + "; it must be above 0");
  return guarded([&]() -> Result<std::unique_ptr<TorchScorer>> {
    std::unique_ptr<TorchScorer> scorer(new TorchScorer(stored.model, options));
    P5_OK(scorer->network_.load(stored));
    scorer->network_.set_training(false);
    scorer->network_.require_gradients(false, true);
    for (NetworkWeight& weight : scorer->network_.weights()) {
      if (!weight.spec.calibration) continue;
      const torch::Tensor values = weight.effective.detach();
      scorer->adapted_.push_back({weight.effective, values.clone(), torch::zeros_like(values)});
    }
    return scorer;
  });
}

std::string TorchScorer::name() const {
  return std::string("torch ") + (options_.precision == Precision::bfloat16 ? "bfloat16" : "float32");
}

torch::Tensor TorchScorer::to_device(std::span<const std::uint16_t> tokens, std::int64_t windows,
                                     std::int64_t length) const {
  torch::Tensor ids = torch::empty({windows, length}, torch::kInt64);
  std::copy(tokens.begin(), tokens.end(), ids.data_ptr<std::int64_t>());
  return ids.to(options_.device);
}

Status TorchScorer::score(const WindowBatch& batch, const Sink& sink) {
  return guarded([&]() -> Status {
    const torch::NoGradGuard no_gradients;
    torch::Tensor rows = network_.hidden(to_device(batch.inputs, batch.windows(), batch.length)).flatten(0, 1);
    const std::int64_t count = batch.wanted_rows();
    if (count < rows.size(0)) rows = rows.index_select(0, wanted_indices(batch).to(options_.device));
    const std::int64_t block = std::max<std::int64_t>(1, kBlockValues / vocab());
    for (std::int64_t first = 0; first < count; first += block) {
      const std::int64_t size = std::min(block, count - first);
      torch::Tensor logits = network_.logits(rows.narrow(0, first, size));
      if (options_.temperature != 1.0) logits = logits / options_.temperature;
      const torch::Tensor logs = torch::log_softmax(logits, 1).to(torch::kCPU).contiguous();
      P5_OK(sink(first, size, {logs.data_ptr<float>(), static_cast<std::size_t>(logs.numel())}));
    }
    return {};
  });
}

std::int64_t TorchScorer::adapted_values() const {
  std::int64_t values = 0;
  for (const Adapted& adapted : adapted_) values += adapted.weight.numel();
  return values;
}

Status TorchScorer::step(const ScoredWindows& windows, double learning_rate) {
  return guarded([&]() -> Status {
    const Network::Loss loss =
        network_.loss(to_device(windows.inputs(), windows.windows(), windows.length()),
                      to_device(windows.targets(), windows.windows(), windows.length()), options_.z_loss);
    std::vector<torch::Tensor> leaves;
    for (const Adapted& adapted : adapted_) leaves.push_back(adapted.weight);
    const auto gradients = torch::autograd::grad({loss.total}, leaves);

    const torch::NoGradGuard no_gradients;
    torch::Tensor squares = torch::zeros({}, gradients[0].options());
    for (const torch::Tensor& gradient : gradients) squares += gradient.square().sum();
    const double norm = squares.sqrt().item<double>();
    const double clip = options_.ttt.clip;
    const double factor = clip > 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1.0;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      adapted_[i].velocity.mul_(options_.ttt.momentum).add_(gradients[i], factor);
      adapted_[i].weight.sub_(adapted_[i].velocity, learning_rate);
    }
    return {};
  });
}

void TorchScorer::reset() {
  const torch::NoGradGuard no_gradients;
  for (Adapted& adapted : adapted_) {
    adapted.weight.copy_(adapted.initial);
    adapted.velocity.zero_();
  }
}

std::string TorchScorer::description() const {
  return "sgd momentum " + shortest(options_.ttt.momentum) + " clip " + shortest(options_.ttt.clip);
}

Result<std::vector<std::byte>> TorchScorer::state() const {
  return guarded([&]() -> Result<std::vector<std::byte>> {
    std::vector<std::byte> bytes;
    for (const Adapted& adapted : adapted_)
      for (const torch::Tensor& values : {adapted.weight, adapted.velocity}) {
        const torch::Tensor floats = values.detach().to(torch::kCPU, torch::kFloat32).contiguous();
        const auto* data = static_cast<const std::byte*>(floats.const_data_ptr());
        bytes.insert(bytes.end(), data, data + floats.nbytes());
      }
    return bytes;
  });
}

Status TorchScorer::restore(std::span<const std::byte> state) {
  const std::size_t expected = static_cast<std::size_t>(adapted_values()) * 2 * sizeof(float);
  if (state.size() != expected)
    return bad_data("the learner's snapshot has " + std::to_string(state.size()) + " bytes where this model's has " +
                    std::to_string(expected));
  return guarded([&]() -> Status {
    const torch::NoGradGuard no_gradients;
    for (Adapted& adapted : adapted_)
      for (const torch::Tensor& values : {adapted.weight, adapted.velocity}) {
        torch::Tensor floats = torch::empty(values.sizes(), torch::kFloat32);
        std::memcpy(floats.data_ptr(), state.data(), floats.nbytes());
        state = state.subspan(floats.nbytes());
        values.copy_(floats);
      }
    return {};
  });
}

}  // namespace par5
