#include <map>

#include "core/safetensors.h"
#include "model/integer_kernels.h"
#include "tests/train/trainer_fixture.h"

namespace par5 {
namespace {

using ConfigKeysTest = TrainerTest;

// Every key that should bend a run does so within three steps, or is declared not to.
TEST_F(ConfigKeysTest, NoConfigurationKeyIsDead) {
  const std::map<std::string, std::string> unchanged = {
      {"quantizer.scale_bits", "simulated with train.scale_qat_fraction only"},
      {"model.context", "frequencies are stretched by yarn only, and rope_max_context equals it here"},
      {"model.dropout", "gpt2 only"},
      {"data.vocab", "tokenizer training"},
      {"data.shard_tokens", "shard writing"},
      {"train.max_seconds", "a clock"},
      {"train.batch_ramp_fraction", "with train.batch_start_tokens"},
      {"train.sequence_ramp_fraction", "with train.sequence_start"},
      {"train.discarded_warmup_steps", "leaves no trace"},
      {"train.distillation_weight", "with train.teacher"},
      {"train.distillation_temperature", "with train.teacher"},
      {"train.teacher", "LearnsFromATeacher"},
      {"train.checkpoint_seconds", "when, not what"},
      {"train.keep_checkpoints", "how many, not what"},
      {"train.keep_best", "a further file"},
      {"train.log_every", "metrics"},
      {"train.validate_every", "validation"},
      {"train.validate_tokens", "validation"},
      {"train.sample_every", "samples"},
      {"train.sample_tokens", "samples"},
      {"optimizer.adamw_lr", "with optimizer.kind = adamw"},
      {"optimizer.normuon_beta2", "with optimizer.muon_variant = normuon"},
  };
  const std::map<std::string, std::string> other = {{"model.backbone", "gpt2"},
                                                    {"model.layers", "3"},
                                                    {"model.width", "64"},
                                                    {"model.heads", "4"},
                                                    {"model.kv_heads", "2"},
                                                    {"model.mlp_width", "32"},
                                                    {"model.activation", "leaky_relu2"},
                                                    {"model.vocab", "64"},
                                                    {"model.embedding_width", "8"},
                                                    {"model.embedding_storage", "fp16"},
                                                    {"model.fused_qkv", "false"},
                                                    {"model.vocab_bias", "false"},
                                                    {"model.norm", "layer"},
                                                    {"model.linear_norm", "all"},
                                                    {"model.q_gain_init", "2"},
                                                    {"model.rope_base", "100"},
                                                    {"model.rope_scaling", "none"},
                                                    {"model.rope_max_context", "64"},
                                                    {"model.rope_angles", "bfloat16"},
                                                    {"model.softcap", "tanh"},
                                                    {"model.softcap_value", "3"},
                                                    {"quantizer.grid", "ternary"},
                                                    {"quantizer.granularity", "row"},
                                                    {"quantizer.group", "16"},
                                                    {"data.order", "sequential"},
                                                    {"train.seed", "6"},
                                                    {"train.steps", "4"},
                                                    {"train.batch_tokens", "64"},
                                                    {"train.batch_start_tokens", "64"},
                                                    {"train.micro_batch_tokens", "32"},
                                                    {"train.sequence", "8"},
                                                    {"train.sequence_start", "8"},
                                                    {"train.precision", "bfloat16"},
                                                    {"train.quantize", "false"},
                                                    {"train.soft_quantization_fraction", "0.5"},
                                                    {"train.scale_qat_fraction", "1"},
                                                    {"train.learned_scale", "group"},
                                                    {"train.ema_decay", "0.5"},
                                                    {"train.warmup_steps", "5"},
                                                    {"train.warmdown_fraction", "1"},
                                                    {"train.warmdown_steps", "2"},
                                                    {"train.warmdown_shape", "cosine"},
                                                    {"train.min_lr_fraction", "0.5"},
                                                    {"train.z_loss", "0.1"},
                                                    {"train.head_sample", "8"},
                                                    {"train.head_sample_fraction", "0"},
                                                    {"train.init_std", "0.1"},
                                                    {"train.embedding_init_std", "0.1"},
                                                    {"train.embedding_init", "spectral"},
                                                    {"optimizer.kind", "adamw"},
                                                    {"optimizer.muon_lr", "0.1"},
                                                    {"optimizer.muon_momentum", "0.5"},
                                                    {"optimizer.muon_momentum_start", "0.1"},
                                                    {"optimizer.muon_momentum_warmup_steps", "2"},
                                                    {"optimizer.muon_iterations", "5"},
                                                    {"optimizer.muon_coefficients", "polar_express"},
                                                    {"optimizer.muon_row_norm", "false"},
                                                    {"optimizer.muon_variant", "normuon"},
                                                    {"optimizer.muon_form", "gram"},
                                                    {"optimizer.muon_products", "int16"},
                                                    {"optimizer.scalar_lr", "0.1"},
                                                    {"optimizer.embedding_lr", "0.1"},
                                                    {"optimizer.adam_beta1", "0.5"},
                                                    {"optimizer.adam_beta2", "0.5"},
                                                    {"optimizer.adam_epsilon", "0.01"},
                                                    {"optimizer.weight_decay", "0.5"},
                                                    {"optimizer.clip", "0.01"}};
  // Keys that mean nothing by themselves.
  const std::map<std::string, std::vector<std::string>> companions = {
      {"model.backbone", {"model.kv_heads=2", "model.embedding_width=32"}},
      {"model.rope_angles", {"model.rope_base=3"}},
      {"model.rope_scaling", {"model.rope_max_context=64"}},
      {"train.scale_qat_fraction", {"quantizer.scale_bits=4"}},
      {"train.head_sample_fraction", {"train.head_sample=8"}}};
  const std::vector<std::string> base = {"train.steps=3", "train.warmdown_fraction=0.5", "train.init_std=0.05",
                                         "train.embedding_init_std=0.05"};
  const auto weights = [&](const std::string& run, std::vector<std::string> changes) {
    changes.insert(changes.begin(), base.begin(), base.end());
    TrainRequest asked = request(run, changes);
    const auto report = train(asked);
    EXPECT_TRUE(report) << run << ": " << report.error().message;
    if (!report) return std::string();
    // The configuration stands in the metadata: the weights alone are compared.
    const auto file = SafetensorsFile::open(join_path(asked.run_folder, "model.safetensors")).value();
    std::string all;
    for (const TensorView& tensor : file.tensors())
      all.append(tensor.name).append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    return all;
  };
  for (const ConfigKey& key : config_keys()) {
    const std::string section = key.name.substr(0, key.name.find('.'));
    if (section != "model" && section != "quantizer" && section != "data" && section != "train" &&
        section != "optimizer")
      continue;
    if (unchanged.count(key.name)) continue;
    if (key.name == "model.vocab") continue;  // that of the shards, or an error
    if (key.name == "optimizer.muon_products" && !kernels::has_fast_integer_products()) continue;  // falls back
    ASSERT_TRUE(other.count(key.name)) << "say what another value of " << key.name << " should do";
    std::vector<std::string> companion;
    if (const auto found = companions.find(key.name); found != companions.end()) companion = found->second;
    std::vector<std::string> flipped = companion;
    flipped.push_back(key.name + "=" + other.at(key.name));
    const std::string with = weights("with-" + key.name, flipped), without = weights("without-" + key.name, companion);
    EXPECT_TRUE(with != without) << key.name << " = " << other.at(key.name) << " changed no weight in three steps";
  }
}

}  // namespace
}  // namespace par5
