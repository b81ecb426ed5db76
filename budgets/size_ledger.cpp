#include "budgets/size_ledger.h"

#include <algorithm>

#include "budgets/subject.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

// Code as it counts in each way, by name.
struct CodeCount {
  std::vector<std::pair<std::string, std::uint64_t>> ways;
  std::string decides;
};

std::uint64_t size_of(const std::string& path) { return file_size(path).value_or(0); }

class Builder {
 public:
  explicit Builder(const AuditSubject& subject) : subject_(subject), rules_(*subject.rules) {
    ledger_.cap_bytes = rules_.cap_bytes;
  }

  SizeLedger build() {
    count_tokenizer_ = subject_.request.count_tokenizer.value_or(rules_.count_tokenizer);
    artifacts();
    tokenizers();
    const CodeCount code = code_lines();
    rest_of_folder();
    std::uint64_t deciding = 0;
    for (const auto& [name, bytes] : code.ways)
      if (name == code.decides && rules_.count_code) deciding = bytes;
    logged_seeds();
    for (SeedTotal& seed : ledger_.seeds) seed.total_bytes = seed.artifact_bytes + deciding + tokenizer_beside_;
    std::stable_sort(ledger_.seeds.begin(), ledger_.seeds.end(),
                     [](const SeedTotal& a, const SeedTotal& b) { return a.total_bytes > b.total_bytes; });
    const std::uint64_t artifact = ledger_.seeds.empty() ? 0 : ledger_.seeds.front().artifact_bytes;
    ledger_.total_bytes = artifact + deciding + tokenizer_beside_;
    for (const auto& [name, bytes] : code.ways)
      ledger_.ways.push_back(
          {name, bytes, artifact + tokenizer_beside_ + bytes, name == code.decides && rules_.count_code});
    ledger_.total_without_tokenizer = ledger_.total_bytes - (count_tokenizer_ ? ledger_.tokenizer_bytes : 0);
    ledger_.total_with_tokenizer = ledger_.total_without_tokenizer + ledger_.tokenizer_bytes;
    return std::move(ledger_);
  }

 private:
  static std::string uncounted(const char* what) { return std::string("not counted: ") + what; }
  void line(std::string what, std::string file, std::uint64_t raw, std::uint64_t counted, std::string note = {}) {
    ledger_.lines.push_back({std::move(what), std::move(file), raw, counted, std::move(note)});
  }

  // Artifacts as they lie. One a seed: par5's runs, and foreign files with "seed" in their names; other files are parts
  // of one.
  void artifacts() {
    std::uint64_t together = 0;
    std::string names;
    for (const AuditedArtifact& artifact : subject_.artifacts) {
      ledger_.artifact_known = true;
      const std::uint64_t inside = artifact.tokenizer_bytes;
      const std::uint64_t counted = artifact.bytes - (count_tokenizer_ ? 0 : inside);
      line("artifact " + artifact.file + (inside ? ", without tokenizer" : ""), artifact.file, artifact.bytes - inside,
           artifact.bytes - inside);
      if (inside)
        line("tokenizer in the artifact", "", inside, count_tokenizer_ ? inside : 0,
             count_tokenizer_ ? "" : uncounted("these rules do not count the tokenizer"));
      ledger_.tokenizer_bytes = std::max(ledger_.tokenizer_bytes, inside);
      streams(artifact);
      const OwnRun* run = subject_.run_at(artifact.file.substr(0, artifact.file.rfind('/') + 1));
      const bool by_seed = run != nullptr || artifact.file.find("seed") != std::string::npos;
      if (by_seed || subject_.kind == AuditSubject::Kind::artifact) {
        ledger_.seeds.push_back({run ? run->seed : "", artifact.file, counted, 0});
      } else {
        together += counted;
        names += (names.empty() ? "" : " + ") + artifact.file;
      }
    }
    if (!names.empty()) ledger_.seeds.push_back({"", names, together, 0});
  }

  void streams(const AuditedArtifact& artifact) {
    if (artifact.report) {
      for (const TensorReport& tensor : artifact.report->tensors)
        for (const StreamReport& stream : tensor.streams)
          ledger_.streams.push_back({artifact.file, tensor.name,
                                     stream.part + ", " + stream.layout + ", " + stream.codec, stream.raw_bytes,
                                     stream.stored_bytes});
      for (const StreamReport& stream : artifact.report->other_streams)
        ledger_.streams.push_back({artifact.file, "", stream.part + ", " + stream.layout + ", " + stream.codec,
                                   stream.raw_bytes, stream.stored_bytes});
    } else if (artifact.archive) {
      for (const ForeignStream& stream : artifact.archive->streams)
        ledger_.streams.push_back({artifact.file, stream.name,
                                   stream.what + (stream.codec.empty() ? "" : ", " + stream.codec), stream.raw_bytes,
                                   stream.stored_bytes});
    }
  }

  // Tokenizers that lie beside the artifact.
  void tokenizers() {
    const auto beside = [&](const std::string& name, std::uint64_t bytes) {
      line("tokenizer " + name, name, bytes, count_tokenizer_ ? bytes : 0,
           count_tokenizer_ ? "" : uncounted("these rules do not count the tokenizer"));
      ledger_.tokenizer_bytes += bytes;
      if (count_tokenizer_) tokenizer_beside_ += bytes;
    };
    if (!subject_.request.tokenizer.empty()) beside(subject_.request.tokenizer, size_of(subject_.request.tokenizer));
    const bool inside = ledger_.tokenizer_bytes > 0;
    bool found = false;
    for (const FolderFile& file : subject_.folder.files) {
      if (file.kind != "tokenizer" || file.name.ends_with(".vocab")) continue;
      // A run folder keeps the tokenizer that its artifact holds; it is not shipped twice.
      if (subject_.own && (inside || found)) continue;
      found = true;
      beside(file.name, file.bytes);
    }
  }

  CodeCount code_lines() {
    if (!subject_.request.code.empty()) return named_code();
    if (subject_.own) return own_lines();
    if (subject_.kind == AuditSubject::Kind::artifact) return {};
    return script_lines();
  }

  CodeCount named_code() {
    std::uint64_t shipped = 0, raw = 0, wrapped = 0;
    for (const std::string& file : subject_.request.code) {
      const std::uint64_t bytes = size_of(file);
      line("code " + file, file, bytes, rules_.count_code ? bytes : 0,
           rules_.count_code ? "" : uncounted("these rules do not count code"));
      shipped += bytes;
      const auto text =
          file.ends_with(".py") ? read_text_file(file, std::uint64_t{1} << 26) : Result<std::string>(bad_data(""));
      const auto opened =
          text ? open_script(*text, file_name(file),
                             [&](const std::string& name) {
                               return read_text_file(join_path(parent_folder(file), name), std::uint64_t{1} << 26);
                             })
               : Result<OpenedScript>(bad_data(""));
      raw += opened ? opened->source.size() : bytes;
      wrapped += opened ? wrapped_bytes(opened->source) : bytes;
    }
    return {{{"shipped", shipped}, {"raw", raw}, {"wrapped", wrapped}}, rules_.code_verdict};
  }

  CodeCount own_lines() {
    if (!subject_.own_code) return {};
    const OwnCode& code = *subject_.own_code;
    CodeCount count{{{"raw", code.raw_bytes}, {"xz", code.xz_bytes}}, rules_.own_code_verdict};
    if (code.binary_bytes)
      count.ways.emplace_back("binary", *code.binary_bytes);
    else if (count.decides == "binary")
      count.decides = "raw";
    line("par5's sources that evaluation needs, " + std::to_string(code.files.size()) + " files, " + count.decides, "",
         code.raw_bytes, rules_.count_code ? code.counted(count.decides) : 0,
         rules_.count_code ? "" : uncounted("these rules do not count code"));
    return count;
  }

  CodeCount script_lines() {
    const ScriptClosure& closure = subject_.closure;
    if (closure.entry.empty()) return {};
    const FolderFile* entry = subject_.folder.find(closure.entry);
    std::uint64_t shipped = entry ? entry->bytes : 0, other = 0;
    line("script " + closure.entry, closure.entry, shipped, rules_.count_code ? shipped : 0);
    for (const HelperFile& helper : closure.helpers) {
      const FolderFile* file = subject_.folder.find(helper.name);
      const std::uint64_t bytes = file ? file->bytes : 0;
      const bool counted = rules_.count_code && rules_.count_helpers;
      line("helper " + helper.name + ", " + helper.why, helper.name, bytes, counted ? bytes : 0,
           counted ? "" : uncounted("these rules do not count helpers"));
      if (!rules_.count_helpers) continue;
      shipped += bytes;
      if (!helper.name.ends_with(".py")) other += bytes;
    }
    return {{{"shipped", shipped},
             {"raw", closure.raw_source.size() + other},
             {"wrapped", wrapped_bytes(closure.raw_source) + other}},
            rules_.code_verdict};
  }

  // Where no artifact lies in the folder, logs and submission.json say how large it was.
  void logged_seeds() {
    if (ledger_.artifact_known || subject_.own) return;
    for (const RunLog& log : subject_.folder.logs) {
      if (!log.total_bytes && !log.model_bytes) continue;
      const double code = log.code_bytes ? log.code_bytes->value : 0;
      const bool split = log.total_bytes && log.code_bytes && log.total_bytes->value > code;
      const Located<double>& from = split || !log.model_bytes ? *log.total_bytes : *log.model_bytes;
      const double model = split ? log.total_bytes->value - code : from.value;
      add_logged(log.seed ? log.seed->value : "", from.place, model);
    }
    const auto& submission = subject_.folder.submission;
    if (!ledger_.seeds.empty() || !submission) return;
    const double code = submission->code_bytes ? submission->code_bytes->value : 0;
    for (const SeedResult& seed : submission->seeds)
      if (seed.total_bytes)
        add_logged(seed.seed, seed.total_bytes->place, std::max(0.0, seed.total_bytes->value - code));
    if (ledger_.seeds.empty() && submission->total_bytes)
      add_logged("", submission->total_bytes->place, std::max(0.0, submission->total_bytes->value - code));
  }
  void add_logged(const std::string& seed, const Place& place, double bytes) {
    const auto counted = static_cast<std::uint64_t>(bytes);
    line("artifact" + (seed.empty() ? "" : " of seed " + seed), "", counted, counted,
         "as " + to_string(place) + " says; the file is not here");
    ledger_.seeds.push_back({seed, to_string(place), counted, 0});
  }

  // What lies in a foreign folder besides: shown, never counted.
  void rest_of_folder() {
    if (subject_.kind != AuditSubject::Kind::submission) return;
    for (const FolderFile& file : subject_.folder.files) {
      const bool listed = std::any_of(ledger_.lines.begin(), ledger_.lines.end(),
                                      [&](const LedgerLine& known) { return known.file == file.name; });
      // What is derived from the audit is not part of it.
      const bool derived =
          subject_.own && (file.name.starts_with("code/") || file.name == "audit.json" || file.name == "README.md");
      if (!listed && !derived) line(file.kind + " " + file.name, file.name, file.bytes, 0);
    }
  }

  const AuditSubject& subject_;
  const RuleSet& rules_;
  SizeLedger ledger_;
  bool count_tokenizer_ = false;
  std::uint64_t tokenizer_beside_ = 0;
};

}  // namespace

SizeLedger make_size_ledger(const AuditSubject& subject) { return Builder(subject).build(); }

}  // namespace par5
