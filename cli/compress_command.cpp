#include <cerrno>
#include <chrono>
#include <cstdio>

#include "cli/coding_tokenizer.h"
#include "cli/commands.h"
#include "core/text.h"
#include "eval/coding/file_coder.h"

namespace par5 {
namespace {

struct Options {
  std::string model, input, output, tokenizer, arithmetic = "int8", kernel;
  std::int64_t window = 0;
  bool to_stdout = false;
};

// An input file or standard input, read as it is.
class Input {
 public:
  static Result<Input> open(const std::string& path) {
    Input input;
    input.path_ = path;
    if (path == "-") {
      input.file_.reset(stdin);
      return input;
    }
    if (is_folder(path)) return usage_error("'" + path + "' is a folder; name a file");
    input.file_.reset(std::fopen(path.c_str(), "rb"));
    if (!input.file_) return io_failure("cannot open '" + path + "'", path, errno);
    if (const auto size = file_size(path)) input.size_ = *size;
    return input;
  }

  Result<std::size_t> read(std::span<std::byte> out) {
    errno = 0;
    const std::size_t count = std::fread(out.data(), 1, out.size(), file_.get());
    if (count == 0 && std::ferror(file_.get())) return io_failure("cannot read '" + path_ + "'", path_, errno);
    return count;
  }
  std::uint64_t size() const { return size_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const {
      if (file != stdin) std::fclose(file);
    }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::uint64_t size_ = 0;
};

// An output file that appears whole, or standard output.
class Output {
 public:
  static Result<Output> create(const Options& options, const CommonOptions& common) {
    if (options.to_stdout == !options.output.empty() && !(options.to_stdout && options.output == "-"))
      return usage_error("name one output: -o FILE, or -c for standard output");
    Output output;
    if (options.to_stdout || options.output == "-") {
      if (common.json) return usage_error("--json and the data cannot both go to standard output; use -o FILE");
      return output;
    }
    P5_TRY(AtomicFile file, AtomicFile::create(options.output, common.overwrite()));
    output.file_.emplace(std::move(file));
    return output;
  }
  bool is_stdout() const { return !file_; }
  Status write(std::span<const std::byte> bytes) {
    if (file_) return file_->write(bytes);
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size()) return {};
    return io_failure("cannot write to standard output", "-", errno);
  }
  Status commit() {
    if (file_) return file_->commit();
    return std::fflush(stdout) == 0 ? Status() : io_failure("cannot write to standard output", "-", errno);
  }

 private:
  std::optional<AtomicFile> file_;
};

Result<Outcome> run(const Options& options, const CommonOptions& common, bool compressing) {
  const auto start = std::chrono::steady_clock::now();
  FileCoderOptions coder;
  P5_TRY(coder.arithmetic, arithmetic_from_name(options.arithmetic));
  coder.window = options.window;
  coder.kernel = options.kernel;
  coder.threads = common.threads;
  P5_TRY(Input input, Input::open(options.input));
  P5_TRY(Output output, Output::create(options, common));
  P5_TRY(const CodingModel model, load_coding_model(options.model, common.threads));
  P5_TRY(const auto tokenizer, coding_tokenizer(model, options.tokenizer));
  if (!tokenizer)
    return usage_error("the artifact holds no tokenizer, which files need; name it with --tokenizer FILE",
                       "--tokenizer");
  const auto read = [&](std::span<std::byte> out) { return input.read(out); };
  const auto write = [&](std::span<const std::byte> bytes) { return output.write(bytes); };
  P5_TRY(const FileCoderSummary summary,
         compressing ? compress_file(model, *tokenizer, coder, read, write, input.size())
                     : decompress_file(model, *tokenizer, coder, options.input, read, write, input.size()));
  P5_OK(output.commit());

  const std::uint64_t original = compressing ? summary.input_bytes : summary.output_bytes;
  const std::uint64_t compressed = compressing ? summary.output_bytes : summary.input_bytes;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Outcome outcome;
  auto& report = outcome.report;
  report["input_bytes"] = summary.input_bytes;
  report["output_bytes"] = summary.output_bytes;
  report["bpb"] = original > 0
                      ? nlohmann::ordered_json(8.0 * static_cast<double>(compressed) / static_cast<double>(original))
                      : nlohmann::ordered_json(nullptr);
  report["arithmetic"] = summary.arithmetic;
  report["arithmetic_version"] = kArithmeticVersion;
  report["kernel"] = summary.kernel;
  report["model_blocks"] = summary.model_blocks;
  report["plain_blocks"] = summary.plain_blocks;
  if (compressing) {
    report["tokens"] = summary.tokens;
    report["payload_bytes"] = summary.payload_bytes;
    report["changes_bytes"] = summary.changes_bytes;
    report["plain_bytes"] = summary.plain_bytes;
  }
  if (output.is_stdout()) {
    outcome.report = nullptr;
    return outcome;
  }
  const auto count = [](std::uint64_t value) { return grouped(static_cast<std::int64_t>(value)); };
  outcome.text = count(summary.input_bytes) + " → " + count(summary.output_bytes) + " bytes";
  if (original > 0)
    outcome.text += ", " + fixed(8.0 * static_cast<double>(compressed) / static_cast<double>(original), 4) +
                    " bits per byte of the original";
  outcome.text += " (" + duration(seconds) + ")\n";
  if (compressing)
    outcome.text += "by the model " + std::to_string(summary.model_blocks) + " blocks (" +
                    count(summary.payload_bytes) + " bytes of text, " + count(summary.changes_bytes) +
                    " of what normalisation changed), by plain codecs " + std::to_string(summary.plain_blocks) + " (" +
                    count(summary.plain_bytes) + " bytes); every block was decoded and compared\n";
  return outcome;
}

void add_common(CLI::App& app, Options& options) {
  app.add_option("MODEL", options.model, "Artifact (.par5)")->required();
  app.add_option("FILE", options.input, "The file, or - for standard input")->required();
  app.add_option("-o,--output", options.output, "The file to write, or -");
  app.add_flag("-c,--stdout", options.to_stdout, "Write to standard output");
  app.add_option("--kernel", options.kernel, "One of this CPU's kernels (default: the best)");
  app.add_option("--tokenizer", options.tokenizer, "SentencePiece model where the artifact holds none");
}

}  // namespace

Command compress_command() {
  return {"compress", "Compress any file with an artifact's probabilities",
          "  par5 compress model.par5 book.txt -o book.p5z\n"
          "  tar c notes | par5 compress model.par5 - -c >notes.tar.p5z",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            add_common(app, *options);
            app.add_option("--arithmetic", options->arithmetic, "int8 (default, fast), fp32, or fp32-adds");
            app.add_option("--window", options->window, "Tokens of context (default: the model's context)")
                ->check(CLI::Range(1, 1048576));
            return [options](const CommonOptions& common) { return run(*options, common, true); };
          }};
}

Command decompress_command() {
  return {"decompress", "Give back a file that `par5 compress` made",
          "  par5 decompress model.par5 book.p5z -o book.txt\n"
          "  par5 decompress model.par5 notes.tar.p5z -c | tar x",
          [](CLI::App& app) -> Runner {
            auto options = std::make_shared<Options>();
            add_common(app, *options);
            return [options](const CommonOptions& common) { return run(*options, common, false); };
          }};
}

}  // namespace par5
