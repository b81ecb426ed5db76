#include "budgets/subject.h"

#include <algorithm>

#include "core/config.h"
#include "core/file.h"
#include "core/text.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostArtifactBytes = std::uint64_t{1} << 32;

// Readable text hides validation text best; named entries have no need for much of it.
std::vector<std::string> long_texts(const Artifact& artifact) {
  constexpr std::size_t kLong = 400;
  std::vector<std::string> names;
  for (const NamedEntry& entry : artifact.extras) {
    const auto* text = std::get_if<std::string>(&entry.value);
    const auto* bytes = std::get_if<std::vector<std::byte>>(&entry.value);
    const std::size_t size = text ? text->size() : bytes ? bytes->size() : 0;
    if (size >= kLong) names.push_back(entry.name + " (" + grouped(static_cast<std::int64_t>(size)) + " bytes)");
  }
  return names;
}

Result<AuditedArtifact> read_audited(const std::string& path, const std::string& name, std::size_t threads) {
  AuditedArtifact artifact;
  artifact.file = name;
  P5_TRY(const MappedFile file, MappedFile::open(path));
  artifact.bytes = file.bytes().size();
  artifact.is_par5 = name.ends_with(".par5");
  if (!artifact.is_par5) {
    auto archive = list_archive(file.bytes(), name);
    if (archive) {
      artifact.archive = std::move(*archive);
      return artifact;
    }
    artifact.error = to_string(archive.error());
  }
  auto decoded = decode_artifact(file.bytes(), name, threads);
  if (decoded) {
    artifact.is_par5 = true;
    artifact.error.clear();
    artifact.tokenizer_bytes = decoded->report.tokenizer_bytes;
    artifact.tokenizer_sha256 = decoded->artifact.tokenizer_sha256;
    artifact.long_texts = long_texts(decoded->artifact);
    artifact.report = std::move(decoded->report);
  } else if (artifact.is_par5 || artifact.error.empty()) {
    artifact.error = to_string(decoded.error());
  }
  return artifact;
}

// "seconds" of the last line of metrics.jsonl that has it.
std::optional<Located<double>> training_clock(const RecordFolder& folder, const std::string& file) {
  const auto text = folder.read_text(file);
  if (!text) return std::nullopt;
  std::optional<Located<double>> last;
  std::size_t number = 0;
  for (const std::string& line : split(*text, '\n')) {
    ++number;
    const Json entry = Json::parse(line, nullptr, false);
    if (entry.is_object() && entry.contains("seconds") && entry["seconds"].is_number())
      last = {entry["seconds"].get<double>(), {file, number, "seconds"}};
  }
  return last;
}

OwnRun read_own_run(const RecordFolder& folder, const std::string& prefix) {
  OwnRun run;
  run.prefix = prefix;
  run.facts = Json::parse(folder.read_text(prefix + "run.json").value_or("{}"), nullptr, false);
  if (!run.facts.is_object()) run.facts = Json::object();
  if (run.facts.contains("seed")) run.seed = run.facts["seed"].dump();
  LoadedConfig config;
  if (config.apply_file(folder.file_path(prefix + "config.toml")))
    for (const ConfigKey& key : config_keys())
      if (key.name != "train.seed") run.settings[key.name] = config.value(key.name);
  run.train_seconds = training_clock(folder, prefix + "metrics.jsonl");
  for (const FolderFile& file : folder.files)
    if (file.name.starts_with(prefix) && file.name.find('/', prefix.size()) == std::string::npos &&
        file.name.ends_with(".par5") && (run.artifact.empty() || file.name == prefix + "model.par5"))
      run.artifact = file.name;
  return run;
}

void read_own_code(AuditSubject& subject) {
  const AuditRequest& request = subject.request;
  if (!subject.rules->count_code) return;
  Result<OwnCode> code = usage_error("no source tree of par5 was found beside the program; name it with --source DIR");
  const bool shipped = subject.kind == AuditSubject::Kind::submission && is_folder(subject.folder.file_path("code"));
  if (shipped)
    code = code_folder(subject.folder.file_path("code"), request.program);
  else if (subject.kind == AuditSubject::Kind::submission)
    code = usage_error("the submission has no folder code/");
  else if (!request.source.empty())
    code = own_code(request.source, kEvalEntry, request.program);
  if (code)
    subject.own_code = std::move(*code);
  else
    subject.own_code_missing = code.error().message;
}

Status read_folder_subject(AuditSubject& subject) {
  P5_TRY(subject.folder, read_record_folder(subject.request.target));
  const RecordFolder& folder = subject.folder;
  for (const FolderFile& file : folder.files)
    if (file_name(file.name) == "run.json" && std::count(file.name.begin(), file.name.end(), '/') <= 1)
      subject.runs.push_back(read_own_run(folder, file.name.substr(0, file.name.size() - 8)));
  subject.own = !subject.runs.empty();
  const bool is_run = subject.own && subject.runs.front().prefix.empty() && folder.submission_file.empty();
  subject.kind = is_run ? AuditSubject::Kind::run : AuditSubject::Kind::submission;
  if (is_run) subject.runs.resize(1);
  subject.evidence = read_evidence(folder);

  // Of par5's runs the packed artifacts; of other people's folders what looks like a compressed model. Shards and
  // training checkpoints are no artifacts.
  for (const FolderFile& file : folder.files) {
    const bool par5_artifact = file.name.ends_with(".par5");
    const bool foreign = !subject.own && file.kind == "artifact" && !file.name.ends_with(".safetensors") &&
                         file.name.find("fineweb_") == std::string::npos;
    if (subject.kind == AuditSubject::Kind::run && file.name != subject.runs.front().artifact) continue;
    if (!par5_artifact && !foreign) continue;
    P5_TRY(AuditedArtifact artifact, read_audited(folder.file_path(file.name), file.name, subject.request.threads));
    subject.artifacts.push_back(std::move(artifact));
  }
  if (subject.own)
    read_own_code(subject);
  else
    subject.closure = read_script_closure(folder);
  return {};
}

}  // namespace

const OwnRun* AuditSubject::run_at(const std::string& prefix) const {
  const auto found = std::find_if(runs.begin(), runs.end(), [&](const OwnRun& run) { return run.prefix == prefix; });
  return found == runs.end() ? nullptr : &*found;
}

std::string_view kind_name(AuditSubject::Kind kind) {
  return kind == AuditSubject::Kind::artifact ? "artifact" : kind == AuditSubject::Kind::run ? "run" : "submission";
}

Result<AuditSubject> read_subject(const AuditRequest& request, const RuleSet& rules) {
  AuditSubject subject;
  subject.request = request;
  subject.rules = &rules;
  if (is_folder(request.target)) {
    P5_OK(read_folder_subject(subject));
  } else {
    P5_TRY(const std::uint64_t size, file_size(request.target));
    if (size > kMostArtifactBytes)
      return resource_limit("'" + request.target + "' has " + grouped(static_cast<std::int64_t>(size)) +
                            " bytes; at most 4 GiB are audited");
    P5_TRY(AuditedArtifact artifact, read_audited(request.target, request.target, request.threads));
    subject.own = artifact.is_par5 || !artifact.archive;
    subject.artifacts.push_back(std::move(artifact));
    if (subject.own && request.code.empty()) read_own_code(subject);
  }
  std::vector<std::string> beside = request.code;
  if (!request.tokenizer.empty()) beside.push_back(request.tokenizer);
  for (const std::string& file : beside) {
    P5_TRY([[maybe_unused]] const std::uint64_t bytes, file_size(file));
  }
  subject.sizes = make_size_ledger(subject);
  return subject;
}

}  // namespace par5
