// The configuration: every setting of par5, as typed structs. core/config_schema.cpp holds the one table from which
// TOML keys, environment variables, `--set`, help, docs/config.md and `config show` come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

enum class Backbone { unet, gpt2 };
enum class Activation { relu2, leaky_relu2, swiglu, gelu };
enum class Norm { rms, layer };
// Which linear layers have a gainless RMS-norm on their input, besides the block's own norms.
enum class LinearNorm { none, outputs, all };
enum class RopeScaling { none, yarn };
// float32 is exact; bfloat16 reproduces the published program, whose positions and angles are rounded to bfloat16.
enum class RopeAngles { float32, bfloat16 };
enum class Softcap { none, tanh, poly5 };
enum class Grid { binary, ternary, quinary, septenary, int4, int5, int6, int7, int8 };
enum class Granularity { group, row, tensor };
// How the token embedding (and the projections of a factored one) is stored.
enum class EmbeddingStorage { fp8, fp16, quantized };
// For training alone: `automatic`, float32 or bfloat16, whichever this machine multiplies faster; int8, integers
// wherever weights have few levels.
enum class Precision { float32, bfloat16, automatic, int8 };
enum class Order { sequential, shuffled_windows };
// What the token embedding begins with: noise, or what the text's pairs of neighbours say (train/spectral_embedding.h).
enum class EmbeddingInit { normal, spectral };
// How the learning rate falls in the warm-down.
enum class WarmdownShape { linear, cosine };
enum class OptimizerKind { muon, adamw };
enum class MuonCoefficients { quintic, polar_express };
// normuon also divides every row of the orthogonalised update by its running root mean square.
enum class MuonVariant { muon, normuon };
// How Newton–Schulz is computed: as it is written, or as a polynomial of the smaller Gram matrix.
enum class MuonForm { plain, gram };
enum class MuonProducts { floating, int16 };
// Learned factors on the quantiser's scales: none, one per row, one per stored scale.
enum class LearnedScale { none, row, group };
// Test-time training: the optimiser, how its rate goes over an evaluation, and which matrices LoRA factors sit on.
enum class TttOptimizer { sgd, lars, adamw };
enum class TttSchedule { constant, cosine };
enum class LoraMatrices { all, attention, mlp };

struct ModelConfig {
  Backbone backbone = Backbone::unet;
  std::int64_t layers = 10;
  std::int64_t width = 576;
  std::int64_t heads = 6;
  std::int64_t kv_heads = 3;
  std::int64_t mlp_width = 2304;
  Activation activation = Activation::relu2;
  std::int64_t vocab = 16384;
  std::int64_t embedding_width = 380;  // equal to width: no embedding projections
  EmbeddingStorage embedding_storage = EmbeddingStorage::fp8;
  std::int64_t context = 1024;  // the sequence length that the model was made for; gpt2: rows of the position table
  bool fused_qkv = true;
  bool vocab_bias = true;
  Norm norm = Norm::rms;
  LinearNorm linear_norm = LinearNorm::outputs;
  double q_gain_init = 5.0;
  double rope_base = 5000.0;
  RopeScaling rope_scaling = RopeScaling::yarn;
  std::int64_t rope_max_context = 2048;  // yarn: the context that the frequencies are stretched to
  RopeAngles rope_angles = RopeAngles::float32;
  Softcap softcap = Softcap::poly5;
  double softcap_value = 10.0;
  double dropout = 0.0;

  std::int64_t head_width() const { return width / heads; }
  bool factored_embedding() const { return embedding_width != width; }
  bool operator==(const ModelConfig&) const = default;
};

struct QuantizerConfig {
  Grid grid = Grid::quinary;
  Granularity granularity = Granularity::group;
  std::int64_t group = 192;
  std::int64_t scale_bits = 16;  // 16: fp16 scales; 4, 5, 6, 8: log2 deltas (what `pack` stores by default)
  bool operator==(const QuantizerConfig&) const = default;
};

struct DataConfig {
  Order order = Order::shuffled_windows;
  std::int64_t vocab = 4096;              // `demo` and `tokenizer train` without --vocab
  std::int64_t shard_tokens = 100000000;  // tokens in one shard file
};

struct TrainConfig {
  std::int64_t seed = 42;
  std::int64_t steps = 0;      // 0: no limit by steps
  double max_seconds = 600.0;  // 0: no limit by time
  std::int64_t batch_tokens = 8192;
  std::int64_t batch_start_tokens = 0;  // 0: no ramp
  double batch_ramp_fraction = 0.3;
  std::int64_t micro_batch_tokens = 8192;
  std::int64_t sequence = 512;
  std::int64_t sequence_start = 0;  // 0: no ramp
  double sequence_ramp_fraction = 0.3;
  Precision precision = Precision::automatic;
  bool quantize = true;  // false: full precision, for a teacher
  double soft_quantization_fraction = 0.0;
  double scale_qat_fraction = 0.0;
  LearnedScale learned_scale = LearnedScale::none;
  std::string teacher;  // checkpoint to distil from, or empty
  double distillation_weight = 0.5;
  double distillation_temperature = 1.0;
  double ema_decay = 0.0;  // 0: none
  std::int64_t discarded_warmup_steps = 0;
  std::int64_t warmup_steps = 0;
  double warmdown_fraction = 0.4;
  std::int64_t warmdown_steps = 0;  // not 0: the warm-down takes this many steps' worth of time instead of a fraction
  WarmdownShape warmdown_shape = WarmdownShape::linear;
  double min_lr_fraction = 0.0;
  double z_loss = 1e-4;
  double init_std = 0.02;
  EmbeddingInit embedding_init = EmbeddingInit::normal;
  double embedding_init_std = 0.005;
  std::int64_t head_sample = 1;
  double head_sample_fraction = 1.0;
  double checkpoint_seconds = 300.0;
  std::int64_t keep_checkpoints = 1;
  bool keep_best = false;
  std::int64_t log_every = 10;
  std::int64_t validate_every = 0;   // steps; 0: only at the end
  std::int64_t validate_tokens = 0;  // 0: the whole validation set
  std::int64_t sample_every = 0;     // steps; 0: no samples of text
  std::int64_t sample_tokens = 64;
};

struct OptimizerConfig {
  OptimizerKind kind = OptimizerKind::muon;
  double muon_lr = 0.016;
  double muon_momentum = 0.95;
  double muon_momentum_start = 0.85;
  std::int64_t muon_momentum_warmup_steps = 80;
  std::int64_t muon_iterations = 3;
  MuonCoefficients muon_coefficients = MuonCoefficients::quintic;
  bool muon_row_norm = true;
  MuonVariant muon_variant = MuonVariant::muon;
  double normuon_beta2 = 0.95;
  MuonForm muon_form = MuonForm::plain;
  MuonProducts muon_products = MuonProducts::floating;
  double scalar_lr = 0.01;
  double embedding_lr = 0.01;
  double adamw_lr = 3e-4;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_epsilon = 1e-8;
  double weight_decay = 0.0;
  double clip = 0.0;  // 0: gradients are not clipped
};

struct EvalConfig {
  std::int64_t window = 0;  // 0: the model's context
  std::int64_t stride = 64;
  std::int64_t batch_tokens = 16384;
  Precision precision = Precision::float32;
};

// One kind of test-time training (docs/evaluation.md has the definitions). The defaults are those of scalars-only
// learning as published; other kinds have theirs in Config.
struct TttConfig {
  std::int64_t chunk_tokens = 32768;
  std::int64_t epochs = 3;
  std::int64_t batch_windows = 32;
  TttOptimizer optimizer = TttOptimizer::sgd;
  double lr = 0.005;
  TttSchedule schedule = TttSchedule::cosine;
  double momentum = 0.9;  // sgd; adamw: beta1
  double adam_beta2 = 0.999;
  double clip = 1.0;   // 0: gradients are not clipped
  double decay = 0.0;  // share of the way back to the stored weights that each step ends with
  // Whole-model learning: rates of the linear layers' matrices, of the embedding with its projections, and of the
  // calibration tensors, as multiples of lr. 0: these do not learn.
  double matrix_factor = 1.0;
  double embedding_factor = 1.0;
  double calibration_factor = 1.0;
};

// The defaults of the other kinds (core/config.cpp).
TttConfig model_learning();
TttConfig lora_learning();
TttConfig phased_learning();
TttConfig online_learning();

struct LoraConfig {
  TttConfig learning = lora_learning();
  std::int64_t rank = 8;
  double alpha = 16.0;  // the factors' product is multiplied by alpha / rank
  LoraMatrices matrices = LoraMatrices::all;
  bool carry = false;  // factors live on behind a document's end
};

struct PhasedConfig {
  TttConfig learning = phased_learning();
  std::int64_t documents = 64;  // scored before each phase
  std::int64_t phases = 1;
};

struct PackConfig {
  std::int64_t effort = 5;
};

struct BudgetConfig {
  std::string rules = "minigolf";
};

struct Config {
  ModelConfig model;
  QuantizerConfig quantizer;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  EvalConfig eval;
  TttConfig ttt;  // scalars only
  TttConfig ttt_model = model_learning();
  LoraConfig ttt_lora;
  PhasedConfig ttt_phased;
  TttConfig online = online_learning();
  PackConfig pack;
  BudgetConfig budget;
};

// One row of the schema as documentation shows it.
struct ConfigKey {
  std::string name;      // "model.width"
  std::string type;      // "integer", "number", "boolean", "text", or the choices "unet | gpt2"
  std::string fallback;  // the default, as TOML
  std::string range;     // "1 … 65536" or empty
  std::string help;
};
std::vector<ConfigKey> config_keys();

// A configuration with the origin of every value: "default", "file demo.toml:12", "environment PAR5_MODEL_WIDTH",
// "--set".
class LoadedConfig {
 public:
  LoadedConfig();
  const Config& values() const { return values_; }
  Config& values() { return values_; }

  // Each layer overrides the ones before it. Unknown keys are usage errors that suggest the nearest known one.
  Status apply_file(const std::string& path);
  Status apply_toml(std::string_view text, const std::string& origin);
  Status apply_environment();
  Status apply_assignment(std::string_view assignment, const std::string& origin = "--set");  // "model.width=384"
  // Checks what no single key can: shapes that fit, groups that divide. Key names stand in the message.
  Status check() const;

  // The value as TOML and where it came from, by full key name.
  std::string value(std::string_view name) const;
  std::string origin(std::string_view name) const;
  // The effective configuration as TOML; with origins as comments if asked. `sections` limits it ("model", ...).
  std::string to_toml(bool with_origins, const std::vector<std::string>& sections = {}) const;

 private:
  Config values_;
  std::vector<std::string> origins_;
};

// Shapes that fit each other: heads divide width, groups divide rows, kv_heads divide heads, ...
Status check_model(const ModelConfig& model, const QuantizerConfig& quantizer);

// Names as the schema spells them.
std::string_view grid_name(Grid grid);
Result<Grid> grid_from_name(std::string_view name);

}  // namespace par5
