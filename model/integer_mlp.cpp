#include "model/integer_mlp.h"

#include "model/fused_support.h"
#include "model/operations.h"

namespace par5 {
namespace {

using fused::size;

class IntegerMlp : public torch::autograd::Function<IntegerMlp> {
 public:
  static torch::Tensor forward(fused::AutogradContext* context, const torch::Tensor& rows, const torch::Tensor& up,
                               const torch::Tensor& down, const SquaredReluForm& form,
                               const IntegerProducts& products) {
    const auto saved = c10::make_intrusive<Saved>(up, down, form, products, rows.size(0));
    context->saved_data["saved"] = c10::IValue::make_capsule(saved);
    const std::size_t width = saved->up.inner().size, hidden = size(saved->up.outputs()), outputs = size(down.size(0));
    const torch::Tensor from = rows.contiguous(), out = torch::empty({rows.size(0), down.size(0)});
    over_token_blocks(rows.size(0), [&](std::size_t, std::size_t first, std::size_t count) {
      saved->up.multiply(from.const_data_ptr<float>() + first * width, count, saved->rows.rows().from(first),
                         saved->hidden.data_ptr<float>() + first * hidden);
      const torch::Tensor active = torch::empty({static_cast<std::int64_t>(count * hidden)});
      kernels::SquaredRelu job = saved->activation(first);
      job.active = fused::matrix(active);
      kernels::squared_relu(job, 0, count);
      saved->down.multiply(active.const_data_ptr<float>(), count, saved->active.rows().from(first),
                           out.data_ptr<float>() + first * outputs);
    });
    return out;
  }

  static fused::tensor_list backward(fused::AutogradContext* context, const fused::tensor_list& gradients) {
    const auto saved = c10::static_intrusive_pointer_cast<Saved>(context->saved_data["saved"].toCapsule());
    const torch::Tensor gradient = gradients[0].contiguous();
    const std::int64_t tokens = gradient.size(0);
    const std::size_t width = saved->up.inner().size, hidden = size(saved->up.outputs()),
                      outputs = size(gradient.size(1));
    const IntegerWeight::Transpose from_outputs(saved->down), from_hidden(saved->up);
    const IntegerOuterProduct to_down(saved->active.rows(), size(tokens), gradient.size(1)),
        to_up(saved->rows.rows(), size(tokens), saved->up.outputs());
    const torch::Tensor to_rows = torch::empty({tokens, static_cast<std::int64_t>(width)});
    over_token_blocks(tokens, [&](std::size_t block, std::size_t first, std::size_t count) {
      const float* const incoming = gradient.const_data_ptr<float>() + first * outputs;
      const torch::Tensor room = torch::empty({static_cast<std::int64_t>(count * hidden)});
      to_down.add(incoming, block);
      from_outputs.multiply(incoming, count, room.data_ptr<float>());
      kernels::SquaredRelu job = saved->activation(first);
      job.active_gradient = job.hidden_gradient = fused::matrix(room);
      kernels::squared_relu_backward(job, 0, count);
      to_up.add(room.const_data_ptr<float>(), block);
      from_hidden.multiply(room.const_data_ptr<float>(), count, to_rows.data_ptr<float>() + first * width);
    });
    return {to_rows, to_up.result(), to_down.result(), torch::Tensor(), torch::Tensor()};
  }

 private:
  struct Saved : torch::CustomClassHolder {
    Saved(const torch::Tensor& up_matrix, const torch::Tensor& down_matrix, const SquaredReluForm& between,
          const IntegerProducts& products, std::int64_t tokens)
        : form(between),
          up(up_matrix, products),
          down(down_matrix, products),
          rows(tokens, up.inner()),
          active(tokens, down.inner()),
          hidden(torch::empty({tokens, up.outputs()})),
          inverse(form.with_norm ? torch::empty({tokens}) : torch::Tensor()) {}

    kernels::SquaredRelu activation(std::size_t first) const {
      kernels::SquaredRelu job;
      job.width = size(hidden.size(1));
      job.epsilon = static_cast<float>(kRmsEpsilon);
      job.slope = static_cast<float>(form.slope);
      job.hidden.data = hidden.data_ptr<float>() + first * job.width;
      job.inverse = form.with_norm ? inverse.data_ptr<float>() + first : nullptr;
      return job;
    }

    SquaredReluForm form;
    IntegerWeight up, down;
    IntegerRowBuffer rows, active;
    torch::Tensor hidden, inverse;
  };
};

}  // namespace

torch::Tensor integer_mlp(const torch::Tensor& rows, const torch::Tensor& up, const torch::Tensor& down,
                          const SquaredReluForm& form, const IntegerProducts& products) {
  return IntegerMlp::apply(rows, up, down, form, products);
}

}  // namespace par5
