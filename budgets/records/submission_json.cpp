#include "budgets/records/submission_json.h"

#include <algorithm>
#include <cctype>

#include "budgets/records/tolerant_json.h"

namespace par5 {
namespace {

using Json = nlohmann::ordered_json;

// "seed_mean_val_bpb", "Seed Mean Val-BPB" -> "seedmeanvalbpb"
std::string plain(std::string_view key) {
  std::string out;
  for (const char c : key)
    if (std::isalnum(static_cast<unsigned char>(c)))
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Spellings in the order of preference, as plain() makes them.
using Names = std::vector<std::string_view>;
const Names kBpb = {"valbpb",      "bpb",        "seedmeanvalbpb", "meanvalbpb",     "valbpbmean",    "meanbpb",
                    "finalvalbpb", "bestvalbpb", "valbpbexact",    "slidingbpbmean", "slidingvalbpb", "valbpbsliding",
                    "tttvalbpb",   "valbpbttt",  "bitsperbyte",    "score",          "valscore"};
const Names kLoss = {"valloss",      "meanvalloss", "vallossmean",     "finalvalloss",
                     "vallossexact", "vallossnats", "meanvallossnats", "vallosssliding"};
const Names kTotal = {"bytestotal",
                      "totalbytes",
                      "artifactbytes",
                      "artifactsizebytes",
                      "artifactbytesmax",
                      "maxartifactbytes",
                      "artifactbytesmean",
                      "totalsizebytes",
                      "submissionbytes",
                      "submissionsizebytes",
                      "totalsubmissionbytes",
                      "totalsubmissionsizebytes",
                      "sizebytes",
                      "bytes",
                      "artifacttotalbytes",
                      "compressedbytes",
                      "finalbytes",
                      "packagebytes",
                      "totalsize",
                      "artifactsize",
                      "submissionsize",
                      "size"};
const Names kCode = {"bytescode",        "codebytes",   "codesizebytes", "codesize",
                     "bytescodewrapped", "scriptbytes", "traingptbytes"};
const Names kModel = {"bytesmodel",         "modelbytes",         "bytesmodelcompressed",
                      "bytesmodelint8zlib", "bytesmodelint6zstd", "compressedmodelbytes",
                      "modelsizebytes",     "bytesweights",       "weightsbytes"};
const Names kTrain = {"trainseconds",     "trainingseconds",       "traintimeseconds",    "traintimes",
                      "wallclockseconds", "trainwallclockseconds", "trainingtimeseconds", "traintimesec",
                      "trainsec",         "traintimesmean",        "trainingtimesec",     "traintime"};
const Names kEval = {"evalseconds", "evaltimeseconds", "evaltimes",      "evalwallclockseconds", "evaluationseconds",
                     "evaltimesec", "evaltimesmean",   "ttttimeseconds", "tttevaltimes",         "evaltime"};
const Names kTrainMs = {"traintimems", "trainms"}, kEvalMs = {"evaltimems", "ttttimems", "evalms"};
const Names kTokens = {"evaltokens", "valtokens", "scoredtokens", "targets"},
            kBytes = {"evalbytes", "valbytes", "chargedbytes"};
const Names kDocuments = {"valdocs",     "valdocuments", "evaldocs",        "evaldocuments", "numvaldocs",
                          "numevaldocs", "scoreddocs",   "scoreddocuments", "documents",     "docs"};

int rank_of(const Names& names, const std::string& key) {
  const auto found = std::find(names.begin(), names.end(), key);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

// A number, also one written as text or as {"mean": …}; "15.72 MB" and "10 min" are scaled.
std::optional<PrintedNumber> number_of(const Json& value) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items())
      if (const std::string name = plain(key);
          (name == "mean" || name == "average" || name == "avg" || name == "value") && !inner.is_object())
        return number_of(inner);
    return std::nullopt;
  }
  if (value.is_number_integer()) return PrintedNumber{value.get<double>(), 0};
  if (value.is_number_float()) return printed_number(value.dump());
  if (!value.is_string()) return std::nullopt;
  const std::string text = value.get<std::string>();
  std::size_t end = 0;
  auto number = printed_number(text, &end);
  if (!number) return std::nullopt;
  const std::string unit = plain(std::string_view(text).substr(end));
  const double scale = unit == "mb"                         ? 1e6
                       : unit == "kb"                       ? 1e3
                       : unit == "mib"                      ? 1048576.0
                       : unit == "ms"                       ? 1e-3
                       : unit == "min" || unit == "minutes" ? 60.0
                                                            : 1.0;
  if (scale != 1.0) number = PrintedNumber{number->value * scale, 0};
  return number;
}

bool is_seed(std::string_view key) {
  const std::string name = plain(key);
  const std::string_view digits = name.starts_with("seed") ? std::string_view(name).substr(4) : std::string_view(name);
  return !digits.empty() && digits.size() <= 12 &&
         std::all_of(digits.begin(), digits.end(), [](char c) { return std::isdigit(static_cast<unsigned char>(c)); });
}
std::string seed_digits(std::string_view key) {
  const std::string name = plain(key);
  return name.starts_with("seed") ? name.substr(4) : name;
}

class Reader {
 public:
  explicit Reader(SubmissionJson& out) : out_(out) {}

  void read() {
    const Json& json = out_.json;
    text(json, {"name", "runname", "title"}, out_.name);
    text(json, {"author", "authors"}, out_.author);
    text(json, {"githubid", "github", "githubuser", "githubusername"}, out_.github_id);
    text(json, {"date", "datetime"}, out_.date);
    text(json, {"track"}, out_.track);
    facts(json, "", out_.bpb, out_.loss, out_.total_bytes, out_.train_seconds, out_.eval_seconds);
    number(json, "", kCode, out_.code_bytes);
    number(json, "", kModel, out_.model_bytes);
    number(json, "", kTokens, out_.tokens);
    number(json, "", kBytes, out_.bytes);
    number(json, "", kDocuments, out_.documents);
    // A headline that stands one level down ("results": {"val_bpb": …}), unless it is one seed's.
    for (const auto& [key, value] : json.items())
      if (value.is_object() && !is_seed(key) && !holds_seeds(value)) {
        auto* bpb = out_.bpb ? nullptr : &out_.bpb;
        std::optional<Located<PrintedNumber>> nested_bpb, nested_loss;
        std::optional<Located<double>> total, train, eval;
        facts(value, key + ".", nested_bpb, nested_loss, total, train, eval);
        if (bpb && nested_bpb && plain(key).find("baseline") == std::string::npos &&
            plain(key).find("ablation") == std::string::npos) {
          out_.bpb = nested_bpb;
          if (!out_.loss) out_.loss = nested_loss;
        }
        if (!out_.total_bytes) out_.total_bytes = total;
        if (!out_.train_seconds) out_.train_seconds = train;
        if (!out_.eval_seconds) out_.eval_seconds = eval;
        number(value, key + ".", kTokens, out_.tokens);
        number(value, key + ".", kBytes, out_.bytes);
        number(value, key + ".", kDocuments, out_.documents);
      }
    sizes(json, "", 0);
    seeds(json, "", 0);
    parallel_lists(json);
    count_seeds(json);
  }

 private:
  Place place(const std::string& key) const { return {out_.file, 0, key}; }

  void text(const Json& object, const std::vector<std::string_view>& names, std::optional<Located<std::string>>& into) {
    for (const auto& [key, value] : object.items())
      if (value.is_string() && std::find(names.begin(), names.end(), plain(key)) != names.end() && !into)
        into = {value.get<std::string>(), place(key)};
  }

  template <class T>
  void number(const Json& object, const std::string& prefix, const Names& names, std::optional<Located<T>>& into,
              double scale = 1.0) {
    int best = into ? 0 : static_cast<int>(names.size());
    for (const auto& [key, value] : object.items()) {
      const int rank = rank_of(names, plain(key));
      if (rank < 0 || rank >= best) continue;
      const auto read = number_of(value);
      if (!read) continue;
      best = rank;
      if constexpr (std::is_same_v<T, double>)
        into = Located<double>{read->value * scale, place(prefix + key)};
      else
        into = Located<T>{*read, place(prefix + key)};
    }
  }

  void facts(const Json& object, const std::string& prefix, std::optional<Located<PrintedNumber>>& bpb,
             std::optional<Located<PrintedNumber>>& loss, std::optional<Located<double>>& total,
             std::optional<Located<double>>& train, std::optional<Located<double>>& eval) {
    number(object, prefix, kBpb, bpb);
    number(object, prefix, kLoss, loss);
    number(object, prefix, kTotal, total);
    number(object, prefix, kTrain, train);
    number(object, prefix, kEval, eval);
    if (!train) number(object, prefix, kTrainMs, train, 1e-3);
    if (!eval) number(object, prefix, kEvalMs, eval, 1e-3);
    // A time without a unit in its name that would be ten hours and more is milliseconds.
    for (auto* time : {&train, &eval})
      if (*time && (*time)->value > 36000 &&
          ((*time)->place.key.ends_with("time") || (*time)->place.key.ends_with("Time")))
        (*time)->value *= 1e-3;
  }

  void sizes(const Json& value, const std::string& path, int depth) {
    if (depth > 16) return;
    if (value.is_object() || value.is_array()) {
      std::size_t index = 0;
      for (const auto& [key, child] : value.items()) {
        const std::string name = value.is_array() ? std::to_string(index++) : key;
        sizes(child, path.empty() ? name : path + "." + name, depth + 1);
      }
      return;
    }
    const std::string last = plain(path.substr(path.rfind('.') + 1));
    if (last.find("byte") == std::string::npos && last.find("size") == std::string::npos) return;
    if (const auto read = number_of(value)) out_.sizes.push_back({read->value, place(path)});
  }

  bool has_bpb(const Json& object) const {
    if (!object.is_object()) return false;
    for (const auto& [key, value] : object.items())
      if (rank_of(kBpb, plain(key)) >= 0 && number_of(value)) return true;
    return false;
  }
  bool holds_seeds(const Json& object) const {
    for (const auto& [key, value] : object.items())
      if (is_seed(key) && (has_bpb(value) || value.is_number())) return true;
    return false;
  }

  void add_seed(const std::string& seed, const Json& object, const std::string& prefix) {
    if (std::any_of(out_.seeds.begin(), out_.seeds.end(), [&](const SeedResult& known) { return known.seed == seed; }))
      return;
    SeedResult result;
    result.seed = seed;
    facts(object, prefix, result.bpb, result.loss, result.total_bytes, result.train_seconds, result.eval_seconds);
    number(object, prefix, kTokens, result.tokens);
    number(object, prefix, kBytes, result.bytes);
    out_.seeds.push_back(std::move(result));
  }

  // {"seed_results": {"42": {…}}}, {"seeds": [{"seed": 42, …}]}, {"val_bpb_by_seed": {"42": 1.1}}, at any depth; the
  // first wins, so that an appendix of other runs does not replace the claim.
  void seeds(const Json& value, const std::string& path, int depth) {
    if (depth > 4 || !out_.seeds.empty()) return;
    const std::string prefix = path.empty() ? "" : path + ".";
    if (value.is_object()) {
      for (const auto& [key, child] : value.items()) {
        if (is_seed(key) && has_bpb(child))
          add_seed(seed_digits(key), child, prefix + key + ".");
        else if (is_seed(key) && child.is_number_float() && plain(path).find("bpb") != std::string::npos) {
          SeedResult result;
          result.seed = seed_digits(key);
          result.bpb = Located<PrintedNumber>{*number_of(child), place(prefix + key)};
          out_.seeds.push_back(std::move(result));
        }
      }
      if (!out_.seeds.empty()) return;
      for (const auto& [key, child] : value.items()) seeds(child, prefix + key, depth + 1);
    } else if (value.is_array()) {
      std::size_t index = 0;
      for (const Json& child : value) {
        const std::string here = prefix + std::to_string(index++);
        if (!has_bpb(child)) continue;
        for (const auto& [key, seed] : child.items())
          if (plain(key) == "seed" && (seed.is_number_integer() || seed.is_string()))
            add_seed(seed.is_string() ? seed_digits(seed.get<std::string>()) : seed.dump(), child, here + ".");
      }
    }
  }

  // {"seeds": [42, 0]}, {"num_seeds": 3}
  void count_seeds(const Json& json) {
    for (const auto& [key, value] : json.items()) {
      const std::string name = plain(key);
      if (name == "seeds" && (value.is_array() || value.is_object()))
        out_.seed_count = value.size();
      else if ((name == "numseeds" || name == "nseeds" || name == "seedcount" || name == "seeds") &&
               value.is_number_unsigned())
        out_.seed_count = value.get<std::size_t>();
    }
    if (!out_.seeds.empty()) out_.seed_count = out_.seeds.size();
  }

  // {"val_bpb": [1.09, 1.10, 1.11]}: one number a seed.
  void list_of_scores(const Json& json) {
    for (const auto& [key, value] : json.items()) {
      if (!value.is_array() || value.size() < 2 || rank_of(kBpb, plain(key)) < 0) continue;
      for (std::size_t i = 0; i < value.size(); ++i) {
        const auto read = number_of(value[i]);
        if (!read) continue;
        SeedResult result;
        result.seed = "#" + std::to_string(i + 1);
        result.bpb = Located<PrintedNumber>{*read, place(key + "." + std::to_string(i))};
        out_.seeds.push_back(std::move(result));
      }
      return;
    }
  }

  // {"seeds": [42, 0], "seed_scores": [1.09, 1.10]}
  void parallel_lists(const Json& json) {
    if (out_.seeds.empty()) named_lists(json);
    if (out_.seeds.empty()) list_of_scores(json);
  }

  void named_lists(const Json& json) {
    if (!json.contains("seeds") || !json["seeds"].is_array()) return;
    const Json& names = json["seeds"];
    for (const auto& [key, value] : json.items()) {
      const std::string name = plain(key);
      const bool scores = name.find("bpb") != std::string::npos || name.find("score") != std::string::npos;
      if (!value.is_array() || !scores || value.size() != names.size()) continue;
      for (std::size_t i = 0; i < names.size(); ++i) {
        SeedResult result;
        result.seed = names[i].is_string() ? names[i].get<std::string>() : names[i].dump();
        if (const auto read = number_of(value[i]))
          result.bpb = Located<PrintedNumber>{*read, place(key + "." + std::to_string(i))};
        out_.seeds.push_back(std::move(result));
      }
      return;
    }
  }

  SubmissionJson& out_;
};

}  // namespace

Result<SubmissionJson> read_submission_json(std::string_view bytes, const std::string& file) {
  P5_TRY(TolerantJson read, read_tolerant_json(bytes, file));
  // One object in a list is taken for the object.
  if (read.value.is_array() && read.value.size() == 1) read.value = Json(read.value[0]);
  if (!read.value.is_object()) return bad_data("'" + file + "' holds no JSON object", file);
  SubmissionJson submission;
  submission.file = file;
  submission.strict = read.strict;
  submission.json = std::move(read.value);
  Reader(submission).read();
  return submission;
}

}  // namespace par5
