#include "eval/ledger_audit.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <numeric>

#include "core/text.h"

namespace par5 {
namespace {

// Target ids as disjoint, joined ranges: a stream scored in order is one range, whatever the ledger says it holds.
class TargetSet {
 public:
  // The first id of [first, end) that is in the set already, or 0; then nothing is added.
  std::int64_t add(std::int64_t first, std::int64_t end) {
    auto after = ranges_.lower_bound(first);
    if (after != ranges_.begin() && std::prev(after)->second > first) return first;
    if (after != ranges_.end() && after->first < end) return after->first;
    if (after != ranges_.end() && after->first == end) {
      end = after->second;
      after = ranges_.erase(after);
    }
    if (after != ranges_.begin() && std::prev(after)->second == first)
      std::prev(after)->second = end;
    else
      ranges_.emplace_hint(after, first, end);
    return 0;
  }
  // The first id of [first, end) that is not in the set, or 0.
  std::int64_t missing(std::int64_t first, std::int64_t end) const {
    const auto after = ranges_.upper_bound(first);
    if (after == ranges_.begin() || std::prev(after)->second <= first) return first;
    return std::prev(after)->second >= end ? 0 : std::prev(after)->second;
  }

 private:
  std::map<std::int64_t, std::int64_t> ranges_;  // first id: one past the last
};

class Audit {
 public:
  explicit Audit(LedgerAudit& audit) : audit_(audit) {}

  void run(std::span<const std::byte> bytes, const std::string& published_head) {
    audit_.file_bytes = bytes.size();
    auto reader = LedgerReader::open(bytes);
    if (!reader) {
      violation(reader.error().key == "chain" ? "chain" : "format", to_string(reader.error()));
      broken_ = true;
    } else {
      audit_.declaration = reader->declaration();
      state_ = first_ = *first_state(reader->declaration());
      read(*reader);
      close(*reader);
    }
    conclude(published_head);
  }

 private:
  void read(LedgerReader& reader) {
    for (;;) {
      const std::size_t offset = reader.offset();
      auto block = reader.next();
      if (!block) {
        violation(block.error().key == "chain" ? "chain" : "format", to_string(block.error()));
        broken_ = true;
        return;
      }
      if (!*block) return;
      where_ = "block " + std::to_string(audit_.blocks) + " (offset " + std::to_string(offset) + "): ";
      for (const LedgerEvent& event : (*block)->events) follow(event);
      if ((*block)->state != state_)
        violation("states", where_ + "its state id does not follow from the updates before it");
      audit_.found.units = std::accumulate((*block)->units.begin(), (*block)->units.end(), audit_.found.units);
      audit_.found.bytes = std::accumulate((*block)->bytes.begin(), (*block)->bytes.end(), audit_.found.bytes);
      if (std::count((*block)->units.begin(), (*block)->units.end(), kNotScored) > 0)
        violation("sums", where_ + "a score is no number of bits");
      ++audit_.blocks;
    }
  }

  void follow(const LedgerEvent& event) {
    const LedgerDeclaration& declared = *audit_.declaration;
    switch (event.kind) {
      case LedgerEvent::Kind::scored:
        if (const std::int64_t twice = scored_.add(event.first_target, event.end_target))
          violation("coverage", where_ + "target " + std::to_string(twice) + " is scored a second time");
        if (declared.stream_order && event.first_target != next_)
          violation("order", where_ + "target " + std::to_string(event.first_target) + " is scored where target " +
                                 std::to_string(next_) + " is due, and the declared order is the stream's");
        next_ = event.end_target;
        audit_.found.targets += event.end_target - event.first_target;
        break;
      case LedgerEvent::Kind::learnt:
        if (const std::int64_t early = scored_.missing(event.first_target, event.end_target))
          violation("order", where_ + "update " + std::to_string(audit_.found.updates) + " learns from target " +
                                 std::to_string(early) + " before it is scored");
        if (declared.learner.empty() || !declared.stream_order)
          violation("order", where_ + "something is learnt, which the declaration excludes");
        state_ = next_state(state_, event);
        audit_.learnt_targets += event.end_target - event.first_target;
        ++audit_.found.updates;
        break;
      case LedgerEvent::Kind::reset:
        state_ = first_;
        break;
      case LedgerEvent::Kind::content:
        break;
    }
  }

  void close(const LedgerReader& reader) {
    audit_.head = hex(reader.link());
    torn_ = reader.torn();
    if (broken_ || !reader.seal()) return;
    audit_.sealed = true;
    const LedgerSeal& seal = *reader.seal();
    const LedgerClaim& found = audit_.found;
    const auto compare = [&](const char* what, auto claimed, auto is) {
      if (claimed != is)
        violation("sums", "the claim is " + std::to_string(claimed) + " " + what + " and the blocks hold " +
                              std::to_string(is));
    };
    compare("targets", seal.claim.targets, found.targets);
    compare("units of 2^-22 bits", seal.claim.units, found.units);
    compare("bytes", seal.claim.bytes, found.bytes);
    compare("updates", seal.claim.updates, found.updates);
    if (found.bytes < 1)
      violation("sums", "no bytes are charged, so there is no bpb");
    else if (seal.bpb != found.bpb())
      violation("sums", "the claim is " + shortest(seal.bpb) + " bpb and the blocks give " + shortest(found.bpb()));
    if (seal.state != state_) violation("states", "the claim's state id does not follow from the updates");
    if (found.targets != audit_.declaration->targets)
      violation("coverage", grouped(found.targets) + " of the declared " + grouped(audit_.declaration->targets) +
                                " targets are scored");
  }

  void violation(const std::string& id, const std::string& evidence) {
    if (audit_.first_violation.empty()) audit_.first_violation = evidence;
    violations_.emplace(id, evidence);
  }

  // `holds`: what to say where nothing was found.
  void check(const std::string& id, const std::string& holds, bool whole_file_needed) {
    const auto found = violations_.find(id);
    if (found != violations_.end()) {
      audit_.checks.push_back({id, Verdict::fail, found->second});
    } else if (broken_ || (whole_file_needed && !audit_.sealed)) {
      audit_.checks.push_back({id, Verdict::unknown, "holds as far as the ledger goes: " + holds});
    } else {
      audit_.checks.push_back({id, Verdict::pass, holds});
    }
  }

  void conclude(std::string published_head) {
    const LedgerClaim& found = audit_.found;
    check("format",
          grouped(audit_.blocks) + " blocks in " + grouped(static_cast<std::int64_t>(audit_.file_bytes)) + " bytes",
          false);
    check("chain", "every record hashes to the link behind it", false);
    check("coverage", grouped(found.targets) + " targets, each scored once", true);
    check("order",
          found.updates == 0 ? "nothing is learnt"
                             : grouped(found.updates) + " updates use " + grouped(audit_.learnt_targets) +
                                   " targets, each scored before",
          true);
    check("states", "the state ids follow from the updates", true);
    check("sums", grouped(found.bytes) + " bytes" + (found.bytes > 0 ? ", " + fixed(found.bpb(), 10) + " bpb" : ""),
          true);
    audit_.checks.push_back({"sealed", audit_.sealed ? Verdict::pass : Verdict::unknown,
                             audit_.sealed ? "the closing record is there"
                             : torn_       ? "the ledger ends in the middle of a record, as a crash leaves it"
                                           : "the ledger has no closing record"});
    if (!published_head.empty()) {
      std::transform(published_head.begin(), published_head.end(), published_head.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      const bool same = !broken_ && audit_.sealed && published_head == audit_.head;
      if (!same)
        violation("head", "the ledger's head hash is " + audit_.head + ", the published one " + published_head);
      audit_.checks.push_back({"head", same ? Verdict::pass : Verdict::fail,
                               same ? "the head hash is the published one" : violations_.at("head")});
    }
    audit_.verdict = overall(audit_.checks);
  }

  LedgerAudit& audit_;
  TargetSet scored_;
  std::int64_t next_ = 1;
  Digest state_{}, first_{};
  std::string where_;
  bool broken_ = false, torn_ = false;
  std::map<std::string, std::string> violations_;  // the first of each check
};

}  // namespace

LedgerAudit audit_ledger(std::span<const std::byte> bytes, const std::string& published_head) {
  LedgerAudit audit;
  Audit(audit).run(bytes, published_head);
  return audit;
}

namespace {

bool answered(const LedgerAudit& audit, std::string_view id) {
  return std::any_of(audit.checks.begin(), audit.checks.end(), [&](const AuditCheck& check) { return check.id == id; });
}

}  // namespace

std::vector<std::string> ledger_audit_proves(const LedgerAudit& audit) {
  if (audit.verdict != Verdict::pass) return {};
  std::vector<std::string> proves = {
      "every one of the " + grouped(audit.found.targets) + " declared targets has exactly one score",
      "the claimed bpb is the sum of these scores over the sum of these bytes",
      audit.found.updates == 0 ? "no update is on record" : "every update on record uses scored targets only"};
  if (answered(audit, "rescored"))
    proves.emplace_back("the scores and bytes of the blocks that were drawn are the model's and the text's");
  if (answered(audit, "head")) proves.emplace_back("nothing was changed since the head hash was published");
  return proves;
}

std::vector<std::string> ledger_audit_leaves_open(const LedgerAudit& audit) {
  std::vector<std::string> open;
  if (!answered(audit, "head"))
    open.emplace_back("that it is the ledger that was published: compare its head hash, or give it with --head");
  if (answered(audit, "rescored"))
    open.emplace_back(
        "that scores and bytes outside the sample are the model's and the text's: draw others with --seed, or `par5 "
        "prove`");
  else
    open.emplace_back(
        "that the scores are what the model gives, and the bytes what the text has: that takes `par5 prove`, or "
        "on a sample --model and --data");
  open.emplace_back(
      "that nothing was learnt beyond what is on record, and that scores do not see their targets: `par5 "
      "prove` decodes the text, `par5 eval --probe` looks for leaks");
  return open;
}

}  // namespace par5
