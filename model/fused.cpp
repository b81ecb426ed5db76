#include "model/fused.h"

#include "model/fused_support.h"

namespace par5::fused {
namespace {

constexpr float kEpsilon = static_cast<float>(kRmsEpsilon);

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& input, torch::ScalarType out) {
    const torch::Tensor x = input.contiguous();
    const std::int64_t width = x.size(-1), rows = x.numel() / width;
    const torch::Tensor normed = torch::empty(x.sizes(), x.options().dtype(out));
    const torch::Tensor inverse = torch::empty({rows});
    const kernels::RmsNorm job = job_of(x, inverse, normed);
    over_rows(rows, width, [&](std::size_t begin, std::size_t end) { kernels::rms_norm(job, begin, end); });
    context->save_for_backward({x, inverse});
    return normed;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &x = saved[0], incoming = gradients[0].contiguous(), out = torch::empty_like(x);
    kernels::RmsNorm job = job_of(x, saved[1], {});
    job.normed_gradient = matrix(incoming);
    job.x_gradient = matrix(out);
    over_rows(saved[1].numel(), x.size(-1),
              [&](std::size_t begin, std::size_t end) { kernels::rms_norm_backward(job, begin, end); });
    return {out, torch::Tensor()};
  }

 private:
  static kernels::RmsNorm job_of(const torch::Tensor& x, const torch::Tensor& inverse, const torch::Tensor& normed) {
    kernels::RmsNorm job;
    job.width = static_cast<std::size_t>(x.size(-1));
    job.epsilon = kEpsilon;
    job.x = matrix(x);
    job.normed = matrix(normed);
    job.inverse = floats(inverse);
    return job;
  }
};

// Inputs in the order of BorderInputs; outputs end, sum, normed and, with a mix, x0 as it came. Without a mix `sum` is
// the end, and without a branch the end is x: then the output `end` is an empty tensor.
class BorderFunction : public torch::autograd::Function<BorderFunction> {
 public:
  static tensor_list forward(AutogradContext* context, const torch::Tensor& x_input, const OptionalTensor& branch_input,
                             const OptionalTensor& scale, const OptionalTensor& x0, const OptionalTensor& mix,
                             const OptionalTensor& skip, const OptionalTensor& skip_weight, torch::ScalarType out) {
    const torch::Tensor x = x_input.contiguous();
    const torch::Tensor branch = branch_input ? branch_input->contiguous() : torch::Tensor();
    const bool with_end = branch.defined() && mix.has_value();
    const torch::Tensor end = with_end ? torch::empty_like(x) : torch::empty({0});
    const torch::Tensor sum = torch::empty_like(x), normed = torch::empty(x.sizes(), x.options().dtype(out));
    const torch::Tensor inverse = torch::empty({x.size(0)});
    const auto given = [](const OptionalTensor& tensor) { return tensor ? tensor->contiguous() : torch::Tensor(); };
    const tensor_list inputs{x, branch, given(scale), given(x0), given(mix), given(skip), given(skip_weight)};
    kernels::Border job = job_of(inputs, sum, inverse);
    job.x = floats(x);
    job.normed = matrix(normed);
    job.end = with_end ? floats(end) : nullptr;
    over_rows(x.size(0), x.size(1), [&](std::size_t from, std::size_t to) { kernels::border(job, from, to); });
    tensor_list saved = inputs;
    saved[0] = !mix ? torch::Tensor() : with_end ? end : x;  // the end, where backward needs it
    saved.push_back(sum);
    saved.push_back(inverse);
    context->save_for_backward(saved);
    context->saved_data["bfloat16"] = out == torch::kBFloat16;
    context->set_materialize_grads(false);
    if (x0) return {end, sum, normed, *x0};
    return {end, sum, normed};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &branch = saved[1], &mix = saved[4], &skip = saved[5], &skip_weight = saved[6], &sum = saved[7];
    kernels::Border job = job_of(saved, sum, saved[8]);
    job.end = floats(saved[0]);
    job.normed.element =
        context->saved_data["bfloat16"].toBool() ? kernels::Element::bfloat16 : kernels::Element::float32;
    const auto contiguous = [](const torch::Tensor& t) { return t.defined() ? t.contiguous() : t; };
    const torch::Tensor for_end = mix.defined() && branch.defined() ? contiguous(gradients[0]) : torch::Tensor();
    const torch::Tensor for_sum = contiguous(gradients[1]), for_normed = contiguous(gradients[2]),
                        later_x0 = mix.defined() ? contiguous(gradients[3]) : torch::Tensor();
    const auto rows_like = [&](bool wanted) { return wanted ? torch::empty_like(sum) : torch::Tensor(); };
    const torch::Tensor to_x = torch::empty_like(sum), to_x0 = rows_like(mix.defined()),
                        to_skip = rows_like(skip.defined());
    const torch::Tensor to_branch = branch.defined() ? torch::empty_like(branch) : torch::Tensor();
    const std::int64_t width = sum.size(1);
    ThreadSums to_scale(width), to_mix(2 * width), to_skip_weight(width);
    over_rows(sum.size(0), width, [&](std::size_t begin, std::size_t end) {
      kernels::BorderGradients job_gradients;
      job_gradients.end = floats(for_end);
      job_gradients.sum = floats(for_sum);
      job_gradients.normed = matrix(for_normed);
      job_gradients.later_x0 = floats(later_x0);
      job_gradients.x = floats(to_x);
      job_gradients.branch = matrix(to_branch);
      job_gradients.x0 = floats(to_x0);
      job_gradients.skip = floats(to_skip);
      job_gradients.scale = to_scale.mine();
      job_gradients.mix = to_mix.mine();
      job_gradients.skip_weight = to_skip_weight.mine();
      kernels::border_backward(job, job_gradients, begin, end);
    });
    const auto sum_if = [](bool wanted, const ThreadSums& sums) { return wanted ? sums.total() : torch::Tensor(); };
    const torch::Tensor mix_gradient = sum_if(mix.defined(), to_mix);
    return {to_x,
            to_branch,
            sum_if(branch.defined(), to_scale),
            to_x0,
            mix_gradient.defined() ? mix_gradient.view({2, width}) : torch::Tensor(),
            to_skip,
            sum_if(skip_weight.defined(), to_skip_weight),
            torch::Tensor()};
  }

 private:
  static kernels::Border job_of(const tensor_list& inputs, const torch::Tensor& sum, const torch::Tensor& inverse) {
    kernels::Border job;
    job.width = static_cast<std::size_t>(sum.size(1));
    job.epsilon = kEpsilon;
    job.branch = matrix(inputs[1]);
    job.scale = floats(inputs[2]);
    job.x0 = floats(inputs[3]);
    job.mix = floats(inputs[4]);
    job.skip = floats(inputs[5]);
    job.skip_weight = floats(inputs[6]);
    job.sum = floats(sum);
    job.inverse = floats(inverse);
    return job;
  }
};

class SquaredRelu : public torch::autograd::Function<SquaredRelu> {
 public:
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& input, double slope, bool with_norm) {
    const torch::Tensor hidden = input.contiguous(), active = torch::empty_like(hidden);
    const torch::Tensor inverse = with_norm ? torch::empty({hidden.size(0)}) : torch::Tensor();
    kernels::SquaredRelu job = job_of(hidden, inverse, slope);
    job.active = matrix(active);
    over_rows(hidden.size(0), hidden.size(1),
              [&](std::size_t begin, std::size_t end) { kernels::squared_relu(job, begin, end); });
    context->save_for_backward({hidden, inverse});
    context->saved_data["slope"] = slope;
    return active;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const torch::Tensor &hidden = saved[0], incoming = gradients[0].contiguous(), out = torch::empty_like(hidden);
    kernels::SquaredRelu job = job_of(hidden, saved[1], context->saved_data["slope"].toDouble());
    job.active_gradient = matrix(incoming);
    job.hidden_gradient = matrix(out);
    over_rows(hidden.size(0), hidden.size(1),
              [&](std::size_t begin, std::size_t end) { kernels::squared_relu_backward(job, begin, end); });
    return {out, torch::Tensor(), torch::Tensor()};
  }

 private:
  static kernels::SquaredRelu job_of(const torch::Tensor& hidden, const torch::Tensor& inverse, double slope) {
    kernels::SquaredRelu job;
    job.width = static_cast<std::size_t>(hidden.size(1));
    job.epsilon = kEpsilon;
    job.slope = static_cast<float>(slope);
    job.hidden = matrix(hidden);
    job.inverse = floats(inverse);
    return job;
  }
};

}  // namespace

bool supported(const torch::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == torch::kFloat32 || x.scalar_type() == torch::kBFloat16);
}

torch::Tensor rms_norm(const torch::Tensor& x, torch::ScalarType out) { return RmsNorm::apply(x, out); }

Normed add_scaled(const torch::Tensor& x, const torch::Tensor& branch, const torch::Tensor& scale,
                  torch::ScalarType out) {
  const OptionalTensor none;
  const tensor_list outputs = BorderFunction::apply(x, optional(branch), optional(scale), none, none, none, none, out);
  return {outputs[1], outputs[2]};
}

Border cross_border(const BorderInputs& inputs, torch::ScalarType out) {
  const tensor_list outputs =
      BorderFunction::apply(inputs.x, optional(inputs.branch), optional(inputs.scale), optional(inputs.x0),
                            optional(inputs.mix), optional(inputs.skip), optional(inputs.skip_weight), out);
  return {inputs.branch.defined() ? outputs[0] : inputs.x, outputs[1], outputs[2], outputs[3]};
}

torch::Tensor squared_relu(const torch::Tensor& hidden, double slope, bool with_norm) {
  return SquaredRelu::apply(hidden, slope, with_norm);
}

}  // namespace par5::fused
