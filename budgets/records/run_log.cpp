#include "budgets/records/run_log.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <span>

#include "budgets/foreign/text_encoding.h"
#include "core/text.h"

namespace par5 {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

using Names = std::initializer_list<const char*>;

// Position behind "name:", "name =" or "\"name\": " in the line; npos where the name does not stand there as a word.
std::size_t behind_name(std::string_view line, std::string_view name, std::size_t from = 0) {
  for (std::size_t at = line.find(name, from); at != std::string_view::npos; at = line.find(name, at + 1)) {
    if (at > 0 && is_word(line[at - 1])) continue;
    std::size_t end = at + name.size();
    const auto skip_blanks = [&] {
      while (end < line.size() && (line[end] == ' ' || line[end] == '"' || line[end] == '\'')) ++end;
    };
    skip_blanks();
    if (end >= line.size() || (line[end] != ':' && line[end] != '=')) continue;
    ++end;
    skip_blanks();
    return end;
  }
  return std::string_view::npos;
}

// The same for a score, which also stands behind blanks, bars or remarks: "val_bpb 1.0855", "| val bpb | 1.0855",
// "val_bpb (exact): 1.0855".
std::optional<PrintedNumber> score_behind(std::string_view line, Names names) {
  for (const std::string_view name : names)
    for (std::size_t at = line.find(name); at != std::string_view::npos; at = line.find(name, at + 1)) {
      std::size_t end = at + name.size();
      if ((at > 0 && is_word(line[at - 1])) || (end < line.size() && is_word(line[end]))) continue;
      if (at >= 6 && line.substr(at - 6, 5) == "train") continue;
      while (end < line.size() && std::string_view(" \t\"'`*|:=").find(line[end]) != std::string_view::npos) ++end;
      if (end < line.size() && (line[end] == '(' || line[end] == '[')) {
        const std::size_t close = line.find_first_of(")]", end);
        if (close == std::string_view::npos || close > end + 30) continue;
        end = close + 1;
        while (end < line.size() && std::string_view(" \t\"'`*|:=").find(line[end]) != std::string_view::npos) ++end;
      }
      const auto number = printed_number(line.substr(end));
      if (number && number->value > 0 && number->value < 50 && number->digits <= 30) return number;
    }
  return std::nullopt;
}

std::optional<PrintedNumber> named_number(std::string_view line, std::string_view name, std::size_t* end = nullptr) {
  const std::size_t at = behind_name(line, name);
  if (at == std::string_view::npos) return std::nullopt;
  std::size_t length = 0;
  const auto number = printed_number(line.substr(at), &length);
  if (number && end) *end = at + length;
  return number;
}

// A duration with its unit: "599124ms", "588138 ms", "479.6s", "9.8m".
std::optional<double> named_seconds(std::string_view line, std::string_view name) {
  std::size_t end = 0;
  const auto number = named_number(line, name, &end);
  if (!number) return std::nullopt;
  while (end < line.size() && line[end] == ' ') ++end;
  const std::string_view unit = line.substr(end);
  if (unit.starts_with("ms")) return number->value * 1e-3;
  // Without a unit, what would be ten hours and more is milliseconds.
  if ((unit.empty() || !is_word(unit[0])) && number->digits == 0 && number->value > 36000) return number->value * 1e-3;
  if (unit.starts_with("m") && !unit.starts_with("mi") && (unit.size() == 1 || !is_word(unit[1])))
    return number->value * 60;
  if (unit.starts_with("min")) return number->value * 60;
  return number->value;
}

std::optional<double> named_seconds(std::string_view line, Names names) {
  for (const char* name : names)
    if (const auto seconds = named_seconds(line, std::string_view(name))) return seconds;
  return std::nullopt;
}

// "12/50000" is no count but how far something has come.
std::optional<std::int64_t> named_count(std::string_view line, std::string_view name) {
  std::size_t end = 0;
  const auto number = named_number(line, name, &end);
  if (!number || number->value < 0 || number->value > 9e15 || (end < line.size() && line[end] == '/'))
    return std::nullopt;
  return static_cast<std::int64_t>(number->value);
}
std::optional<std::int64_t> named_count(std::string_view line, Names names) {
  for (const char* name : names)
    if (const auto count = named_count(line, std::string_view(name))) return count;
  return std::nullopt;
}

constexpr Names kDocumentNames = {"val_docs",       "val-docs",      "num_val_docs", "val_documents",   "eval_docs",
                                  "eval_documents", "num_eval_docs", "scored_docs",  "scored_documents"};

bool holds_word(std::string_view line, Names words) {
  for (const std::string_view word : words)
    for (std::size_t at = line.find(word); at != std::string_view::npos; at = line.find(word, at + 1))
      if ((at == 0 || !std::isalpha(static_cast<unsigned char>(line[at - 1]))) &&
          (at + word.size() >= line.size() || !std::isalpha(static_cast<unsigned char>(line[at + word.size()]))))
        return true;
  return false;
}

// The word that stands right before or right behind the numbers [begin, end) of a line.
std::string_view word_before(std::string_view line, std::size_t begin) {
  while (begin > 0 && std::string_view(" :=[(").find(line[begin - 1]) != std::string_view::npos) --begin;
  std::size_t start = begin;
  while (start > 0 && std::isalpha(static_cast<unsigned char>(line[start - 1]))) --start;
  return line.substr(start, begin - start);
}
std::string_view word_behind(std::string_view line, std::size_t end) {
  while (end < line.size() && line[end] == ' ') ++end;
  std::size_t stop = end;
  while (stop < line.size() && std::isalpha(static_cast<unsigned char>(line[stop]))) ++stop;
  return line.substr(end, stop - end);
}

// How far a line that counts chunks, windows or documents says that it has come: "ttt_chunk 10/1893", "[ 12.5%]".
std::optional<double> counted_share(std::string_view line) {
  constexpr std::string_view kCounted[] = {"chunk",    "chunks",    "batch",    "batches",   "window",  "windows",
                                           "doc",      "docs",      "document", "documents", "seq",     "seqs",
                                           "sequence", "sequences", "block",    "blocks",    "segment", "segments",
                                           "tokens",   "c",         "b"};
  const auto counted = [&](std::string_view word) {
    return std::find(std::begin(kCounted), std::end(kCounted), word) != std::end(kCounted);
  };
  for (std::size_t at = line.find_first_of("/%"); at != std::string_view::npos; at = line.find_first_of("/%", at + 1)) {
    std::size_t start = at;
    while (start > 0 && (std::isdigit(static_cast<unsigned char>(line[start - 1])) || line[start - 1] == '.' ||
                         line[start - 1] == ','))
      --start;
    const auto first = start < at ? printed_number(line.substr(start)) : std::nullopt;
    if (!first) continue;
    if (line[at] == '%') {
      if (first->value <= 100) return first->value / 100;
      continue;
    }
    std::size_t length = 0;
    const auto second = printed_number(line.substr(at + 1), &length);
    if (!second || second->value < 1 || first->value > second->value) continue;
    if (counted(word_before(line, start)) || counted(word_behind(line, at + 1 + length)))
      return first->value / second->value;
  }
  return std::nullopt;
}

// "[2026-04-01 12:00:00,123] INFO - " and the like.
std::string_view without_timestamp(std::string_view line) {
  if (line.starts_with("[") ||
      (line.size() > 4 && line[4] == '-' && std::isdigit(static_cast<unsigned char>(line[0])))) {
    std::size_t end = line.starts_with("[") ? line.find(']') + 1 : 0;
    if (end == 0)
      while (end < line.size() && end < 40 &&
             (std::isdigit(static_cast<unsigned char>(line[end])) ||
              std::string_view("-:., TZ+").find(line[end]) != std::string_view::npos))
        ++end;
    line.remove_prefix(std::min(end, line.size()));
    for (const char* level : {"INFO", "DEBUG", "WARNING"})
      if (line.starts_with(level) || trim(line).starts_with(level))
        line.remove_prefix(line.find(level) + std::string_view(level).size());
    while (!line.empty() && std::string_view(" -:|]").find(line[0]) != std::string_view::npos) line.remove_prefix(1);
  }
  return line;
}

// Source code that a log echoes is no result.
bool is_program_text(std::string_view line) {
  const std::string_view start = trim(line);
  if (start.starts_with("#") || start.starts_with("//")) return true;
  if (start.starts_with("{\"")) return false;  // a line of JSON
  for (const char* mark : {"log0(", "log(", "print(", "f\"", "f'", "{args.", "def ", "return ", ".format("})
    if (line.find(mark) != std::string_view::npos) return true;
  return false;
}

// "step:7800/10000" and "7800/10000" at the start of a line.
void read_step(std::string_view line, LogEvaluation& evaluation) {
  std::string_view rest = line;
  if (const std::size_t at = behind_name(line, "step"); at != std::string_view::npos) rest = line.substr(at);
  std::size_t end = 0;
  const auto step = printed_number(rest, &end);
  if (!step || step->digits != 0 || end >= rest.size() || rest[end] != '/') return;
  const auto last = printed_number(rest.substr(end + 1));
  if (!last || last->digits != 0) return;
  evaluation.step = static_cast<std::int64_t>(step->value);
  evaluation.last_step = static_cast<std::int64_t>(last->value);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// "seed:42", "SEED = 42" -> "42"
std::string seed_of_line(const std::string& small) {
  const std::size_t at = behind_name(small, "seed");
  if (at == std::string::npos) return {};
  std::size_t end = at;
  while (end < small.size() && std::isdigit(static_cast<unsigned char>(small[end]))) ++end;
  return end - at <= 12 ? small.substr(at, end - at) : "";
}

// "Serialized model int6+lzma: 15877564 bytes", "… 15.88 MB": the first number behind `name` and a colon, in bytes.
std::optional<double> size_behind(std::string_view line, std::string_view name) {
  const std::size_t at = line.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t colon = line.find_first_of(":=", at);
  if (colon == std::string_view::npos) return std::nullopt;
  std::size_t length = 0;
  const auto number = printed_number(line.substr(colon + 1), &length);
  if (!number || number->value < 0) return std::nullopt;
  const std::string_view unit = trim(line.substr(colon + 1 + length));
  const double scale = unit.starts_with("mib")   ? 1048576.0
                       : unit.starts_with("mb")  ? 1e6
                       : unit.starts_with("kib") ? 1024.0
                       : unit.starts_with("kb")  ? 1e3
                                                 : 1.0;
  if (scale == 1.0 && number->digits > 0) return std::nullopt;
  return number->value * scale;
}

class Reader {
 public:
  Reader(RunLog& log) : log_(log) {}

  void line(std::string_view raw, std::size_t number) {
    number_ = number;
    const std::string_view text = without_timestamp(raw);
    if (is_program_text(text) || text.size() > 4000) return;
    const std::string small = lower(text);
    evaluation(text, small);
    times(small);
    coverage(small);
    calibration(small);
    sizes(small);
    if (std::string seed = log_.seed ? "" : seed_of_line(small); !seed.empty()) log_.seed = {std::move(seed), here()};
    LogEvaluation step;
    read_step(text, step);
    started_ = started_ || step.step || behind_name(small, "warmup_step") != std::string::npos;
    if (!started_) setting(text);
  }

  void finish() {
    if (!log_.eval_seconds) log_.eval_seconds = longest_;
  }

 private:
  Place here() const { return {log_.file, number_, {}}; }

  void evaluation(std::string_view text, const std::string& small) {
    LogEvaluation found;
    found.bpb = score_behind(small, {"val_bpb", "val bpb", "val-bpb", "val/bpb", "valid_bpb", "validation bpb",
                                     "validation_bpb", "eval_bpb", "eval/bpb", "bits_per_byte", "bits per byte"});
    const bool named = found.bpb.has_value();
    if (!named) found.bpb = score_behind(small, {"bpb"});
    if (!found.bpb) return;
    found.loss = score_behind(small, {"val_loss", "val loss", "val-loss", "val/loss", "valid_loss", "validation loss",
                                      "validation_loss", "eval_loss", "eval/loss"});
    if (!named && !found.loss) found.loss = score_behind(small, {"loss", "nll"});
    found.tokens = named_count(small, {"eval_tokens", "scored_tokens", "val_tokens", "targets"});
    found.bytes = named_count(small, {"eval_bytes", "scored_bytes", "val_bytes"});
    found.seconds = named_seconds(small, {"eval_time", "time", "eval_seconds", "elapsed"});
    found.documents = named_count(small, {"documents", "docs"});
    read_step(text, found);
    found.aside = holds_word(
        small, {"ablation", "ablations", "ablate", "baseline", "previous", "sota", "leaderboard", "reference"});
    if (!found.step && small.find("exact") == std::string::npos) {
      found.share = counted_share(small);
      found.running =
          found.share || holds_word(small, {"running", "progress", "so far", "rolling", "interim", "cumulative"});
      if (small.starts_with("final") && found.share.value_or(1) == 1) found.running = false;
    }
    const std::size_t first = std::min({small.find("val_loss"), small.find("val loss"), small.find("val_bpb"),
                                        small.find("val bpb"), small.find("bpb")});
    found.label = std::string(trim(text.substr(0, std::min(first, text.size()))));
    found.line = number_;
    if (found.seconds && !found.step && (!longest_ || *found.seconds > longest_->value))
      longest_ = {*found.seconds, here()};
    log_.evaluations.push_back(std::move(found));
  }

  void times(const std::string& small) {
    if (const auto seconds = named_seconds(small, {"train_time", "training_time", "training time", "train time",
                                                   "train_seconds", "training_seconds"})) {
      // The stop line is the word of the clock that ended training; later lines do not replace it.
      const bool stop =
          small.find("stopping_early") != std::string::npos || small.find("wallclock_cap") != std::string::npos;
      if (stop || !stopped_) log_.train_seconds = {*seconds, here()};
      stopped_ = stopped_ || stop;
    }
    for (const char* name : {"total_eval_time", "total_evaluation_time", "eval_total_time"})
      if (const auto seconds = named_seconds(small, name)) log_.eval_seconds = {*seconds, here()};
    if (const auto seconds =
            named_seconds(small, {"eval_time", "eval time", "evaluation_time", "evaluation time", "eval_seconds"});
        seconds && small.find("bpb") == std::string::npos)
      if (!longest_ || *seconds > longest_->value) longest_ = {*seconds, here()};
    for (const char* name :
         {"process_seconds", "process_time", "wall_seconds", "total_wallclock", "total_process_time"})
      if (const auto seconds = named_seconds(small, name)) log_.process_seconds = {*seconds, here()};
  }

  // "val_loader:shards pattern=… tokens:62021632", "val_docs: 50000"
  void coverage(const std::string& small) {
    const auto keep_largest = [&](std::optional<Located<std::int64_t>>& kept, std::int64_t value) {
      if (value > 0 && (!kept || value > kept->value)) kept = {value, here()};
    };
    if (const auto documents = named_count(small, kDocumentNames)) keep_largest(log_.documents, *documents);
    auto tokens = named_count(
        small, {"val_tokens", "num_val_tokens", "val_token_count", "total_val_tokens", "eval_tokens", "scored_tokens"});
    if (!tokens && small.find("val_loader") != std::string::npos) tokens = named_count(small, {"tokens"});
    if (tokens) keep_largest(log_.val_tokens, *tokens);
  }

  // "GPTQ:collected 67 Hessians in 12.3s", "gptq:collecting hessians from autoregressive data"
  void calibration(const std::string& small) {
    if (!stopped_ || (small.find("hessian") == std::string::npos && small.find("calibrat") == std::string::npos))
      return;
    if (small.find("diagnostic") != std::string::npos) return;
    if (!log_.calibration) log_.calibration = LogCalibration{std::nullopt, false, here()};
    for (const char* word : {"autoregressive", "self-gen", "generated"})
      if (small.find(word) != std::string::npos) log_.calibration->generated = true;
    if (const std::size_t at = small.find(" in "); at != std::string::npos) {
      std::size_t end = 0;
      const auto number = printed_number(std::string_view(small).substr(at + 4), &end);
      const std::string_view unit = number ? trim(std::string_view(small).substr(at + 4 + end)) : std::string_view();
      if (unit.starts_with("s"))
        log_.calibration->seconds = log_.calibration->seconds.value_or(0) + number->value;
      else if (unit.starts_with("ms"))
        log_.calibration->seconds = log_.calibration->seconds.value_or(0) + number->value * 1e-3;
      log_.calibration->place = here();
    }
  }

  void sizes(const std::string& small) {
    const auto keep_total = [&](double bytes) {
      log_.total_bytes = {bytes, here()};
      log_.all_totals.push_back({bytes, here()});
    };
    for (const char* name :
         {"total submission size", "total artifact size", "submission size", "artifact size", "total size"})
      if (const auto total = size_behind(small, name)) {
        keep_total(*total);
        break;
      }
    for (const char* name : {"total_bytes", "bytes_total", "artifact_bytes", "submission_bytes", "total_size_bytes"})
      if (const auto total = named_number(small, name); total && total->digits == 0) {
        keep_total(total->value);
        break;
      }
    if (const std::size_t at = behind_name(small, "budget"); at != std::string::npos) {  // "budget:15714938/16000000"
      std::size_t end = 0;
      const auto total = printed_number(std::string_view(small).substr(at), &end);
      if (total && total->digits == 0 && at + end < small.size() && small[at + end] == '/') keep_total(total->value);
    }
    if (const auto code = size_behind(small, "code size"))
      log_.code_bytes = {*code, here()};
    else if (const auto code_named = named_count(small, "code");
             code_named && small.find("artifact") != std::string::npos)
      log_.code_bytes = {static_cast<double>(*code_named), here()};
    if (small.find("serialized model ") != std::string::npos)
      if (const auto model = size_behind(small, "serialized model ")) log_.model_bytes = {*model, here()};
  }

  // "name: value" and "name=value" pairs of the settings that are printed before training.
  void setting(std::string_view text) {
    const std::string_view line = trim(text);
    if (line.size() > 400) return;
    constexpr std::size_t kMostSettings = 400;
    for (std::size_t i = 0; i < line.size() && log_.config.size() < kMostSettings;) {
      if (!std::isalpha(static_cast<unsigned char>(line[i])) && line[i] != '_') {
        ++i;
        continue;
      }
      const std::size_t start = i;
      while (i < line.size() && is_word(line[i])) ++i;
      const std::string name(line.substr(start, i - start));
      if (i >= line.size() || (line[i] != ':' && line[i] != '=')) continue;
      ++i;
      if (i < line.size() && line[i] == ' ') ++i;
      const std::size_t value = i;
      while (i < line.size() && line[i] != ' ' && line[i] != ',') ++i;
      if (i > value) log_.config.emplace(name, std::string(line.substr(value, i - value)));
    }
  }

  RunLog& log_;
  std::size_t number_ = 0;
  bool started_ = false, stopped_ = false;
  std::optional<Located<double>> longest_;  // single timer of an evaluation
};

// "train_seed1337.log" -> "1337"
std::string seed_of_name(const std::string& name) {
  const std::string small = lower(name.substr(name.rfind('/') + 1));
  std::size_t at = small.find("seed");
  if (at != std::string::npos)
    at += 4;
  else if (const std::size_t log = small.find("log"); log != std::string::npos)
    at = log + 3;
  else
    return {};
  while (at < small.size() && (small[at] == '_' || small[at] == '-')) ++at;
  std::size_t end = at;
  while (end < small.size() && std::isdigit(static_cast<unsigned char>(small[end]))) ++end;
  return end - at <= 12 ? small.substr(at, end - at) : "";
}

}  // namespace

const LogEvaluation* RunLog::final_evaluation() const {
  const auto result = std::find_if(evaluations.rbegin(), evaluations.rend(), [](const LogEvaluation& evaluation) {
    return !evaluation.running && !evaluation.aside;
  });
  if (result != evaluations.rend()) return &*result;
  return evaluations.empty() ? nullptr : &evaluations.back();
}

namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\n\r", start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + (text.substr(end, 2) == "\r\n" ? 2 : 1);
  }
  return lines;
}

// Where runs begin: line 0; a line with another seed behind steps; a step that is smaller than the one before it, of as
// many.
std::vector<std::size_t> run_starts(const std::vector<std::string_view>& lines) {
  std::vector<std::size_t> starts = {0};
  std::string seed;
  std::int64_t step = -1, last_step = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view text = without_timestamp(lines[i]);
    if (text.size() > 4000 || is_program_text(text)) continue;
    const std::string small = lower(text);
    const std::string found = small.find("bpb") == std::string::npos ? seed_of_line(small) : "";
    LogEvaluation counter;
    read_step(text, counter);
    const bool new_seed = !found.empty() && found != seed && step >= 0 && !seed.empty();
    if (new_seed || (counter.step && *counter.step < step && *counter.last_step == last_step)) {
      starts.push_back(i);
      step = -1;
    }
    if (!found.empty()) seed = found;
    if (counter.step) step = *counter.step, last_step = *counter.last_step;
  }
  return starts;
}

RunLog read_lines(std::span<const std::string_view> lines, std::size_t first, const std::string& file,
                  bool seed_from_name) {
  RunLog log;
  log.file = file;
  if (std::string seed = seed_of_name(file); seed_from_name && !seed.empty())
    log.seed = {std::move(seed), {file, 0, "name"}};
  log.lines = lines.size();
  Reader reader(log);
  for (std::size_t i = 0; i < lines.size(); ++i) reader.line(lines[i], first + i + 1);
  reader.finish();
  return log;
}

}  // namespace

RunLog read_run_log(std::string_view bytes, const std::string& file) {
  const std::string text = to_utf8(bytes);
  return read_lines(lines_of(text), 0, file, true);
}

std::vector<RunLog> read_run_logs(std::string_view bytes, const std::string& file) {
  const std::string text = to_utf8(bytes);
  const std::vector<std::string_view> lines = lines_of(text);
  const std::vector<std::size_t> starts = run_starts(lines);
  std::vector<RunLog> runs;
  for (std::size_t r = 0; r < starts.size(); ++r) {
    const std::size_t end = r + 1 < starts.size() ? starts[r + 1] : lines.size();
    runs.push_back(
        read_lines(std::span(lines).subspan(starts[r], end - starts[r]), starts[r], file, starts.size() == 1));
  }
  return runs;
}

bool looks_like_run_log(std::string_view bytes) {
  const std::string text = to_utf8(bytes.substr(0, std::size_t{1} << 24));
  const std::string small = lower(text);
  for (const char* mark :
       {"val_bpb", "val bpb", "val/bpb", "bits_per_byte", " bpb:", " bpb=", "train_time", "train_loss"})
    for (std::size_t at = small.find(mark); at != std::string::npos; at = small.find(mark, at + 1))
      if (const std::size_t value = small.find_first_not_of(" \"':=|", at + std::string_view(mark).size());
          value != std::string::npos && std::isdigit(static_cast<unsigned char>(small[value])))
        return true;
  return false;
}

}  // namespace par5
