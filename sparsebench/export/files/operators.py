"""The operators that a program may call: those that compute tensors of tensors, and touch nothing else.

None takes the name of a file, and none writes anywhere but into tensors of the program, which lie in its own memory.
What is not listed is refused, whatever it does: a library that somebody has installed may register operators that run
anything. Nor are those listed that believe sizes and places without a look at the memory behind them, as
``_reshape_alias`` does (the few that networks need are called by way of ``guarded``), and none of torchvision: no
network that classifies calls one.
"""

import re

_IN_PLACE = "_"

_ELEMENTWISE = """
abs acos acosh add addcdiv addcmul alpha_dropout angle arccos arcsin arctan asin asinh atan atan2 atanh bitwise_and
bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu clamp clamp_max clamp_min clip
copysign cos cosh deg2rad digamma div divide dropout elu eq erf erfc erfinv exp exp2 expm1 feature_alpha_dropout
feature_dropout fill float_power floor floor_divide fmax fmin fmod frac gcd ge gelu glu greater greater_equal gt
hardshrink hardsigmoid hardswish hardtanh heaviside hypot imag isclose isfinite isinf isnan isneginf isposinf lcm
ldexp le leaky_relu lerp less less_equal lgamma log log10 log1p log2 log_sigmoid logaddexp logaddexp2 logical_and
logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul multiply nan_to_num native_dropout
ne neg negative nextafter not_equal pow prelu rad2deg real reciprocal relu relu6 remainder round rrelu rsqrt rsub
selu sgn sigmoid sign signbit silu sin sinc sinh softplus softshrink special_erf special_expit sqrt square sub
subtract tan tanh tanhshrink threshold true_divide trunc where xlogy zero
"""

_OVER_DIMENSIONS = """
_log_softmax _softmax all amax amin aminmax any argmax argmin argsort bincount bucketize cosine_similarity
count_nonzero cov cross cummax cummin cumprod cumsum diff dist histc isin kthvalue linalg_norm linalg_vector_norm
log_softmax logcumsumexp logsumexp max mean median min mode nanmean nanmedian nanquantile nansum norm
pairwise_distance prod quantile renorm searchsorted softmax softmin sort std std_mean sum topk trapz
unique_consecutive unique_dim var var_mean
"""

_SHAPES = """
_to_copy _unsafe_view adjoint alias alias_copy as_strided atleast_1d atleast_2d atleast_3d block_diag
broadcast_tensors broadcast_to cat channel_shuffle chunk clone column_stack combinations concat concatenate
constant_pad_nd contiguous copy detach diag diag_embed diagonal dstack expand expand_as expand_copy flatten flip
fliplr flipud gather hsplit hstack index index_add index_copy index_fill index_put index_reduce index_select
lift_fresh lift_fresh_copy mH mT masked_scatter masked_select meshgrid moveaxis movedim narrow nonzero numpy_T
one_hot pad permute permute_copy pixel_shuffle pixel_unshuffle ravel reflection_pad1d reflection_pad2d
reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape reshape_as
resolve_conj resolve_neg roll rot90 row_stack scatter scatter_add scatter_reduce select select_copy select_scatter
slice slice_copy slice_scatter split split_with_sizes squeeze squeeze_copy stack swapaxes swapdims t t_copy take
take_along_dim tensor_split tile to transpose transpose_copy tril triu type_as unbind unflatten unfold unsafe_chunk
unsafe_split unsqueeze unsqueeze_copy view view_as view_as_complex view_as_real view_copy vsplit vstack
"""

_MADE = """
arange bartlett_window bernoulli blackman_window complex empty empty_like empty_permuted empty_strided eye
fft_fftfreq fft_rfftfreq full full_like hamming_window hann_window linspace logspace new_empty new_full new_ones
new_zeros normal_functional ones ones_like polar rand rand_like randint randint_like randn randn_like scalar_tensor
tril_indices triu_indices zeros zeros_like
"""

_LAYERS = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _convolution _native_batch_norm_legit_no_training _safe_softmax
_scaled_dot_product_flash_attention_for_cpu _upsample_nearest_exact1d _upsample_nearest_exact2d adaptive_avg_pool1d
adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d addbmm addmm
addmv addr affine_grid_generator avg_pool1d avg_pool2d avg_pool3d baddbmm batch_norm bilinear binary_cross_entropy
binary_cross_entropy_with_logits bmm cdist chain_matmul col2im conv1d conv2d conv3d conv_tbc conv_transpose1d
conv_transpose2d conv_transpose3d convolution cross_entropy_loss dot einsum embedding fft_fft fft_fft2 fft_fftn
fft_fftshift fft_hfft fft_ifft fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2
fft_rfftn grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gru_cell huber_loss im2col inner instance_norm
istft kl_div kron l1_loss layer_norm linalg_cross linalg_det linalg_inv linalg_matrix_norm linalg_solve
linalg_vecdot linear local_response_norm lstm lstm_cell matmul matrix_exp max_pool1d max_pool2d
max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d mm mse_loss multi_dot mv native_group_norm
native_layer_norm nll_loss outer rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell scaled_dot_product_attention
smooth_l1_loss stft tensor_dot tensordot trace upsample_bicubic2d upsample_bilinear2d upsample_linear1d
upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d vdot
"""

_OF_SIZES = """
_assert_scalar _assert_tensor_metadata _local_scalar_dense item sym_constrain_range sym_constrain_range_for_size
sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride
"""

_WRITES = """
abs add addcdiv addcmul alpha_dropout bitwise_and bitwise_not bitwise_or ceil celu clamp clamp_max clamp_min clip
copy cos detach div divide dropout elu erf exp expm1 feature_dropout fill floor floor_divide fmod gelu hardsigmoid
hardswish hardtanh index_add index_copy index_fill index_put leaky_relu lerp log log1p logical_and logical_not
logical_or masked_fill masked_scatter mish mul multiply nan_to_num neg pow reciprocal relu relu6 remainder round
rrelu rsqrt scatter scatter_add scatter_reduce selu sigmoid sign silu sin sqrt squeeze sub subtract t tan tanh
threshold transpose tril triu trunc unsqueeze zero
"""
"""Those that have a form which writes its result into the first tensor, named with ``_`` at the end."""

_QUANTIZED = """
_choose_qparams_per_token_asymmetric_impl choose_qparams choose_qparams_per_token
choose_qparams_per_token_asymmetric choose_qparams_symmetric convert_element_type dequantize_per_channel
dequantize_per_channel_group dequantize_per_tensor dequantize_per_token fake_quant_per_channel quantize_per_channel
quantize_per_channel_group quantize_per_tensor quantize_per_token
"""

_TORCHAO = """
choose_qparams_affine choose_scale_float8 dequantize_affine dequantize_affine_float8_non_decomposed quantize_affine
quantize_affine_float8_non_decomposed
"""

_ATEN = "".join((_ELEMENTWISE, _OVER_DIMENSIONS, _SHAPES, _MADE, _LAYERS, _OF_SIZES)).split()

ALLOWED = {
    "aten": frozenset([*_ATEN, *(name + _IN_PLACE for name in _WRITES.split())]),
    "quantized_decomposed": frozenset(_QUANTIZED.split()),
    "torchao": frozenset(_TORCHAO.split()),
    "higher_order": frozenset({"cond", "wrap_with_autocast", "wrap_with_set_grad_enabled"}),
}
"""Names of operators by namespace; those of ``higher_order`` hold graphs, whose operators are looked at likewise."""

ASSERTIONS = ("_assert_scalar", "_assert_tensor_metadata")
"""Operators that take a text to raise; nobody needs that of the file."""

_OF_NUMBERS = {
    *(f"_operator.{name}" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos")),
    "_operator.getitem",
    *(f"_operator.{name}" for name in ("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_")),
    *(f"math.{name}" for name in ("ceil", "floor", "sqrt", "trunc")),
    *(f"torch.sym_{name}" for name in ("float", "int", "ite", "max", "min", "not", "sqrt")),
}
POWER = "_operator.pow"
LARGEST_POWER = 8
"""A power of whole numbers grows without bound."""

_OF_PACKED = {"lstm", "gru", "rnn_relu", "rnn_tanh"}
"""Operators whose form for packed sequences believes what it is told of their lengths."""

_OPERATOR = re.compile(r"torch\.ops\.([A-Za-z]\w*)\.(\w+)(?:\.(\w+))?")


def namespace_of(target: str) -> str | None:
    """Return the namespace of an operator that may be called, empty for arithmetic of sizes; None for any other."""
    if target in _OF_NUMBERS:
        return ""
    found = _OPERATOR.fullmatch(target)
    if not found or found[2] not in ALLOWED.get(found[1], ()):
        return None
    if found[2] in _OF_PACKED and found[3] == "data":
        return None
    # An overload that writes into a tensor which it is given is one of those listed with an underscore.
    return None if (found[3] or "").endswith("out") else found[1]


def name_of(target: str) -> str:
    """Return an operator's name without namespace and overload."""
    found = _OPERATOR.fullmatch(target)
    return found[2] if found else target
