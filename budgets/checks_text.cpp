// E3, V1, K1: which text was scored, and in what bytes.
#include <algorithm>
#include <cmath>

#include "budgets/checks.h"
#include "budgets/denominator.h"
#include "budgets/records/registry.h"
#include "core/file.h"
#include "core/text.h"
#include "tokenizer/shards/overlap.h"

namespace par5 {
namespace {

std::string count_text(std::int64_t value) { return grouped(value); }

// What a run says it scored.
struct Scored {
  std::optional<std::int64_t> tokens, bytes;
  std::optional<PrintedNumber> loss, bpb;
  Place place;
};

std::vector<Scored> scored_texts(const AuditSubject& subject) {
  std::vector<Scored> all;
  for (const RunLog& log : subject.folder.logs) {
    const LogEvaluation* last = log.final_evaluation();
    if (!last) continue;
    // Lines that repeat the result may leave the counts out: the last that prints them has the same text.
    Scored scored{last->tokens, last->bytes, last->loss, last->bpb, {log.file, last->line, {}}};
    for (const LogEvaluation& evaluation : log.evaluations) {
      if (!last->tokens && evaluation.tokens) scored.tokens = evaluation.tokens;
      if (!last->bytes && evaluation.bytes) scored.bytes = evaluation.bytes;
    }
    all.push_back(scored);
  }
  const auto& submission = subject.folder.submission;
  if (all.empty() && submission) {
    for (const SeedResult& seed : submission->seeds) {
      if (!seed.bpb) continue;
      Scored scored{std::nullopt, std::nullopt, seed.loss ? std::optional(seed.loss->value) : std::nullopt,
                    seed.bpb->value, seed.bpb->place};
      if (seed.tokens) scored.tokens = static_cast<std::int64_t>(seed.tokens->value);
      if (seed.bytes) scored.bytes = static_cast<std::int64_t>(seed.bytes->value);
      all.push_back(scored);
    }
    if (all.empty() && submission->bpb && submission->loss)
      all.push_back(
          {std::nullopt, std::nullopt, submission->loss->value, submission->bpb->value, submission->bpb->place});
  }
  return all;
}

std::optional<std::int64_t> fact(const OwnRun& run, const char* object, const char* key) {
  if (!run.facts.contains(object) || !run.facts[object].is_object() || !run.facts[object].contains(key) ||
      !run.facts[object][key].is_number_integer())
    return std::nullopt;
  return run.facts[object][key].get<std::int64_t>();
}

// The rows of an eval report: itself, or its rows.
std::vector<nlohmann::ordered_json> eval_rows(const EvidenceReport& report) {
  if (report.json.contains("rows") && report.json["rows"].is_array())
    return report.json["rows"].get<std::vector<nlohmann::ordered_json>>();
  return {report.json};
}

std::optional<std::int64_t> integer_of(const nlohmann::ordered_json& json, const char* key) {
  if (!json.contains(key) || !json[key].is_number_integer()) return std::nullopt;
  return json[key].get<std::int64_t>();
}

}  // namespace

// The folder of shards that a run names, wherever it lies now.
std::string run_shards(const AuditSubject& subject, const OwnRun& run, const char* which) {
  if (!run.facts.contains(which) || !run.facts[which].is_object() || !run.facts[which].contains("folder") ||
      !run.facts[which]["folder"].is_string())
    return "";
  const std::string named = run.facts[which]["folder"].get<std::string>();
  const std::string beside = join_path(join_path(subject.request.target, "data"), file_name(named));
  for (const std::string& folder : {named, beside})
    if (file_exists(join_path(folder, kManifestName))) return folder;
  return "";
}

Finding check_validation_set(const AuditSubject& subject) {
  const RuleSet& rules = *subject.rules;
  if (!rules.documents && !rules.validation_bytes) return does_not_apply("these rules name no validation set");
  const auto registry = load_registry();
  if (!registry) return unknown(registry.error().message);
  const std::int64_t bytes = rules.use_registry ? registry->charged_bytes : rules.validation_bytes.value_or(0);
  const std::string by_counts = "; a set known by its counts only: that it is this text cannot be seen from here";

  if (subject.own) {
    std::vector<Place> places;
    for (const OwnRun& run : subject.runs) {
      const Place place{run.prefix + "run.json", 0, "validation"};
      const auto documents = fact(run, "validation", "documents"), charged = fact(run, "validation", "bytes"),
                 tokens = fact(run, "validation", "tokens");
      if (!documents || !charged || !tokens) return unknown("the run names no validation shards", {place});
      if (rules.documents && *documents != *rules.documents)
        return fails(count_text(*documents) + " documents of validation text, not " + count_text(*rules.documents),
                     {place});
      if (bytes > 0 && *charged != bytes)
        return fails(count_text(*charged) + " charged bytes of validation text, not " + count_text(bytes), {place});
      bool scored = false;
      for (const EvidenceReport* report : of_command(subject.evidence, "eval")) {
        if (!report->file.starts_with(run.prefix)) continue;
        for (const auto& row : eval_rows(*report)) {
          const auto targets = integer_of(row, "targets");
          if (!targets) continue;  // a probe's report
          scored = true;
          if (*targets < *tokens - 1)
            return fails("evaluation scored " + count_text(*targets) + " of " + count_text(*tokens - 1) + " targets",
                         {{report->file, 0, "targets"}});
        }
      }
      if (!scored) return unknown("there is no eval report (`par5 eval … --json >eval.json`)", {place});
      places.push_back(place);
    }
    return passes("all " + count_text(rules.documents.value_or(0)) + " documents, every target scored" + by_counts,
                  places);
  }

  const auto texts = scored_texts(subject);
  if (texts.empty()) return unknown("no log gives a score");
  std::vector<Place> places;
  std::string evidence;
  for (const Scored& text : texts) {
    places.push_back(text.place);
    if (!text.tokens) return unknown("the logs do not say how many targets were scored" + by_counts, places);
    for (const KnownSplit& split : registry->splits)
      if (split.scored == text.tokens)
        return fails(count_text(*text.tokens) + " targets are those of " + split.name, {text.place});
    const auto known =
        std::find_if(registry->tokenizers.begin(), registry->tokenizers.end(), [&](const KnownTokenizer& tokenizer) {
          return tokenizer.scored == text.tokens || (tokenizer.tokens && *tokenizer.tokens - 1 == *text.tokens);
        });
    if (known != registry->tokenizers.end()) {
      evidence = count_text(*text.tokens) + " targets, as " + known->name + " has on " + registry->validation_name;
      if (known->scored == text.tokens && known->tokens && *known->tokens - 1 != *text.tokens)
        evidence += " (the last " + count_text(*known->tokens - 1 - *text.tokens) + " dropped, as published)";
      continue;
    }
    // Another tokenizer: the bytes decide, where they are printed.
    if (!text.bytes)
      return unknown(
          count_text(*text.tokens) + " targets match no known tokenizer, and no bytes are printed" + by_counts,
          {text.place});
    const double share = static_cast<double>(*text.bytes) / static_cast<double>(registry->charged_bytes);
    if (share < 0.99)
      return fails(count_text(*text.bytes) + " bytes scored, " + fixed(100 * share, 1) + " % of the set", {text.place});
    if (!registry->exact(*text.bytes))
      return unknown(count_text(*text.bytes) + " bytes are no total that is known", {text.place});
    evidence = count_text(*text.bytes) + " bytes: " + registry->exact(*text.bytes)->name;
  }
  return passes(evidence + by_counts, places);
}

Finding check_overlap(const AuditSubject& subject) {
  for (const AuditedArtifact& artifact : subject.artifacts)
    if (!artifact.long_texts.empty())
      return fails("the artifact carries readable text beyond its model: " + join(artifact.long_texts, ", "),
                   {{artifact.file, 0, {}}});
  const std::string unseen = "; text hidden in weights cannot be seen";
  const auto reports = of_command(subject.evidence, "shard overlap");
  for (const EvidenceReport* report : reports) {
    const auto shared = report->number("shared_documents");
    if (!shared) continue;
    if (*shared > 0)
      return fails(count_text(static_cast<std::int64_t>(*shared)) + " validation documents are in the training data",
                   {{report->file, 0, "shared_documents"}});
  }
  if (!reports.empty() && reports.front()->number("shared_documents"))
    return passes(
        "no document of the validation set is in the training data (hashes of documents; near-copies are another "
        "matter)" +
            unseen,
        {{reports.front()->file, 0, "shared_documents"}});

  std::vector<Place> places;
  for (const OwnRun& run : subject.runs) {
    const std::string train = run_shards(subject, run, "data"), validation = run_shards(subject, run, "validation");
    if (train.empty() || validation.empty())
      return unknown(
          "the shards of training and validation are not where the run says, and no report of `par5 shard overlap` "
          "lies beside it");
    const auto training_manifest = read_manifest(train), validation_manifest = read_manifest(validation);
    for (const auto* manifest : {&training_manifest, &validation_manifest})
      if (!*manifest) return unknown(manifest->error().message);
    const Overlap overlap = document_overlap(*training_manifest, *validation_manifest);
    if (overlap.shared_documents > 0)
      return fails(count_text(static_cast<std::int64_t>(overlap.shared_documents)) + " of " +
                       count_text(static_cast<std::int64_t>(overlap.documents_b)) +
                       " validation documents are in the training data",
                   {{join_path(train, kManifestName), 0, {}}, {join_path(validation, kManifestName), 0, {}}});
    places.push_back({join_path(validation, kManifestName), 0, {}});
  }
  if (!places.empty())
    return passes(
        "no document of the validation set is in the training data (hashes of documents, from the shards' manifests; "
        "near-copies are another matter)" +
            unseen,
        places);
  for (const char* word : {"val_docs", "val-docs", "num_val_docs"})
    if (const std::size_t at = subject.closure.raw_source.find(word); at != std::string::npos)
      return unknown(std::string("the script chooses how many documents are validation (") + word +
                         "); logs cannot settle what was in the training shards",
                     {{subject.closure.entry, 0, word}});
  return unknown("needs the shards: logs and sources cannot show what was in the training data" + unseen);
}

Finding check_denominator(const AuditSubject& subject) {
  const auto registry = load_registry();
  if (!registry) return unknown(registry.error().message);
  for (const EvidenceReport* report : of_command(subject.evidence, "tokenizer verify")) {
    const bool failed = (report->json.contains("ok") && report->json["ok"] == false) ||
                        (report->json.contains("verdict") && report->json["verdict"] == "fail");
    if (failed) return fails("charged bytes are not the text's", {{report->file, 0, {}}});
  }
  if (subject.own) {
    std::vector<Place> places;
    for (const OwnRun& run : subject.runs) {
      const auto charged = fact(run, "validation", "bytes"), tokens = fact(run, "validation", "tokens");
      for (const EvidenceReport* report : of_command(subject.evidence, "eval")) {
        if (!report->file.starts_with(run.prefix)) continue;
        for (const auto& row : eval_rows(*report)) {
          const auto bytes = integer_of(row, "bytes"), targets = integer_of(row, "targets");
          if (!charged || !tokens || !bytes || !targets) continue;
          if (*targets != *tokens - 1)
            return unknown("only a part of the validation text was scored", {{report->file, 0, "targets"}});
          if (*bytes != *charged)
            return fails("evaluation divided by " + count_text(*bytes) + " bytes; the validation text has " +
                             count_text(*charged),
                         {{report->file, 0, "bytes"}, {run.prefix + "run.json", 0, "validation.bytes"}});
          places.push_back({report->file, 0, "bytes"});
        }
      }
    }
    if (places.empty()) return unknown("no eval report of the whole validation text lies beside the run");
    return passes(
        "every score is divided by the charged bytes of the shards, which were checked document by document when they "
        "were made",
        places);
  }
  std::vector<Place> places;
  std::string evidence;
  Finding doubtful = passes("");
  for (const Scored& text : scored_texts(subject)) {
    if (text.bytes) {
      if (const KnownDenominator* known = registry->exact(*text.bytes)) {
        if (known->fault) return fails(count_text(*text.bytes) + " bytes: " + known->name, {text.place});
        evidence = count_text(*text.bytes) + " bytes: " + known->name;
        places.push_back(text.place);
        continue;
      }
    }
    if (!text.loss || !text.bpb || text.bpb->value <= 0) continue;
    const Denominator denominator = back_solve(*text.loss, *text.bpb);
    const DenominatorMatch match = match_denominator(denominator, *registry);
    if (!match.faults.empty()) return fails(match.text, {text.place});
    if (match.known.empty())
      doubtful = unknown(match.text + "; a changed tokenizer must be proven (`par5 tokenizer verify`)", {text.place});
    evidence = match.text;
    places.push_back(text.place);
  }
  if (doubtful.answer != Answer::pass) return doubtful;
  if (places.empty()) return unknown("no line gives both val_loss and val_bpb");
  return passes(evidence, places);
}

}  // namespace par5
