#include "model/network.h"

#include <cstring>

#include "model/runtime.h"

namespace par5 {

std::string embedding_name(const ModelConfig& model) {
  return model.backbone == Backbone::unet ? "tok_emb.weight" : "transformer.wte.weight";
}

Network::Network(const ModelConfig& model, torch::Device device, torch::ScalarType compute, Kernels kernels)
    : model_(model),
      device_(device),
      compute_(compute),
      wide_(compute == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32),
      kernels_(compute == torch::kFloat64 ? Kernels::eager : kernels) {
  prepare_vector_functions();
  const std::string embedding = embedding_name(model);
  for (TensorSpec& spec : tensor_specs(model)) {
    const bool product = spec.storage == Storage::quantized && spec.name != embedding;
    torch::Tensor zeros = torch::zeros(spec.shape, torch::dtype(product ? compute_ : wide_).device(device));
    index_[spec.name] = weights_.size();
    weights_.push_back({std::move(spec), std::move(zeros)});
  }
}

torch::Tensor& Network::weight(const std::string& name) {
  const auto found = index_.find(name);
  TORCH_CHECK(found != index_.end(), "the network has no weight '", name, "'");
  return weights_[found->second].effective;
}

Status Network::load(const StoredModel& stored) {
  if (!(stored.model == model_)) return usage_error("the stored model's configuration is not the network's");
  const torch::NoGradGuard no_gradients;
  thaw();
  for (NetworkWeight& weight : weights_) {
    const StoredTensor* tensor = stored.find(weight.spec.name);
    if (!tensor || tensor->spec.shape != weight.spec.shape)
      return bad_data(
          "the stored model lacks the tensor '" + weight.spec.name + "' in the shape " + to_string(weight.spec.shape),
          {}, std::nullopt, weight.spec.name);
    std::vector<float> values = tensor->values(static_cast<std::size_t>(at::get_num_threads()));
    weight.effective.copy_(torch::from_blob(values.data(), weight.spec.shape, torch::kFloat32));
  }
  return {};
}

void Network::require_gradients(bool matrices, bool calibration) {
  for (NetworkWeight& weight : weights_)
    weight.effective.requires_grad_(weight.spec.calibration ? calibration : matrices);
}

void Network::clear_gradients() {
  for (NetworkWeight& weight : weights_) weight.effective.mutable_grad() = torch::Tensor();
}

void Network::freeze() {
  thaw();
  if (compute_ != torch::kFloat32) return;
  for (const NetworkWeight& weight : weights_)
    if (!weight.effective.requires_grad()) frozen_.add(weight.effective);
}

void Network::thaw() { frozen_ = {}; }

Status Network::check_length(std::int64_t length) const {
  if (length < 1) return usage_error("a sequence needs at least one token");
  if (model_.backbone == Backbone::gpt2 && length > model_.context)
    return usage_error("a sequence of " + std::to_string(length) + " tokens is longer than the model's " +
                           std::to_string(model_.context) + " learned positions",
                       "model.context");
  return {};
}

torch::Tensor Network::backbone(const torch::Tensor& tokens, const ScoringShape& scoring) {
  TORCH_CHECK_VALUE(tokens.dim() == 2, "tokens must be [batch, length], not ", tokens.sizes());
  if (const Status status = check_length(tokens.size(1)); !status) TORCH_CHECK_VALUE(false, status.error().message);
  const torch::Tensor rows =
      model_.backbone == Backbone::unet ? unet_hidden(tokens, scoring) : gpt2_hidden(tokens, scoring);
  return rows.view({tokens.size(0), tokens.size(1) - scoring.first, model_.width});
}

torch::Tensor Network::hidden(const torch::Tensor& tokens) { return backbone(tokens, {}); }

torch::Tensor Network::scoring_hidden(const torch::Tensor& tokens, const ScoringShape& scoring) {
  TORCH_CHECK_VALUE(scoring.first >= 0 && scoring.first < tokens.size(1) && scoring.shift >= 0,
                    "no position of the sequences is wanted");
  const torch::NoGradGuard no_gradients;
  return backbone(tokens, scoring);
}

torch::Tensor Network::features(const torch::Tensor& hidden_rows) {
  if (!model_.factored_embedding()) return hidden_rows;
  return product(hidden_rows, weight("embed_proj_rev.weight").to(compute_));
}

HeadSettings Network::head_settings() {
  const bool frozen = at::GradMode::is_enabled() && frozen_.has(weight(embedding_name(model_)));
  return {model_.softcap, model_.softcap_value, kernels_, frozen ? &frozen_ : nullptr, integer_products_.has_value()};
}

torch::Tensor Network::vocabulary_bias() {
  return model_.vocab_bias && model_.backbone == Backbone::unet ? weight("vocab_bias") : torch::Tensor();
}

torch::Tensor Network::logits(const torch::Tensor& hidden_rows) {
  return head_logits(features(hidden_rows), weight(embedding_name(model_)), vocabulary_bias(), head_settings());
}

torch::Tensor Network::nats(const torch::Tensor& hidden_rows, const torch::Tensor& targets, double temperature) {
  const torch::NoGradGuard no_gradients;
  return head_nats(features(hidden_rows), weight(embedding_name(model_)), vocabulary_bias(), targets, temperature,
                   head_settings());
}

Network::Loss Network::loss(const torch::Tensor& tokens, const torch::Tensor& targets, double z_loss) {
  const torch::Tensor rows = features(hidden(tokens).flatten(0, 1));
  const torch::Tensor& embedding = weight(embedding_name(model_));
  const torch::Tensor bias = vocabulary_bias();
  const auto form = kernels_ == Kernels::eager ? eager_head_loss : head_loss;
  return form(rows, embedding, bias, targets.flatten(), z_loss, head_settings());
}

Network::Loss Network::sampled_loss(const torch::Tensor& tokens, const torch::Tensor& targets, double z_loss,
                                    const HeadSample& settings) {
  const torch::Tensor bias = vocabulary_bias();
  const torch::Tensor weights =
      bias.defined() ? (0.5 * bias.detach().cpu()).clamp(-20, 20).exp() : torch::ones({model_.vocab}, torch::kFloat32);
  const VocabularySample sample = sample_vocabulary(targets.cpu(), weights, settings);
  const torch::Tensor rows = features(hidden(tokens).flatten(0, 1)), ids = sample.tokens.to(device_);
  HeadSettings head = head_settings();
  head.frozen = nullptr;
  head.offsets = sample.offsets.to(device_);
  const auto form = kernels_ == Kernels::eager ? eager_head_loss : head_loss;
  return form(rows, weight(embedding_name(model_)).index_select(0, ids),
              bias.defined() ? bias.index_select(0, ids) : bias, sample.targets.to(device_), z_loss, head);
}

torch::Tensor Network::normalize_input(const torch::Tensor& rows, bool is_output) {
  const bool wanted = model_.linear_norm == LinearNorm::all || (model_.linear_norm == LinearNorm::outputs && is_output);
  return wanted ? rms_norm(rows, compute_, kernels_) : rows.to(compute_);
}

torch::Tensor Network::linear(const torch::Tensor& rows, const torch::Tensor& weight, bool is_output) {
  return quantized_product(normalize_input(rows, is_output), weight);
}

torch::Tensor Network::product(const torch::Tensor& rows, const torch::Tensor& weight) {
  if (at::GradMode::is_enabled() && frozen_.has(weight)) return frozen_.linear(rows, weight);
  return at::linear(rows, weight);
}

torch::Tensor Network::quantized_product(const torch::Tensor& rows, const torch::Tensor& weight) {
  return integer_products_ ? integer_linear(rows, weight, *integer_products_) : product(rows, weight);
}

const RopeTable& Network::rope(std::int64_t length) {
  if (!rope_.cosine.defined() || rope_.cosine.size(0) < length) {
    rope_ = rope_table(model_, length, device_);
    rope_view_ = {};
  }
  if (!rope_view_.cosine.defined() || rope_view_.cosine.size(0) != length)
    rope_view_ = {rope_.cosine.narrow(0, 0, length), rope_.sine.narrow(0, 0, length)};
  return rope_view_;
}

}  // namespace par5
