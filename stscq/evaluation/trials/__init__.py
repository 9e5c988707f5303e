"""Trials: quantisers fitted on the latents of one frozen tokenizer, for questions that the trained codecs leave open.

Encoder and decoder stay as stage1_tokenizer left them (no stage 3 for anybody), so that trials differ in nothing but
how latents become symbols. All of one question take the same number of steps on the same batches of the same latents,
are written as bytes, read again, and judged on the same pairs (docs/reviewers.md).

    setting     what all trials share: tokenizer, latents of training and test images, how a stage is trained
    quantiser   what a trial hands over: latents to symbols and back; bytes of its symbols
    codebooks   the paper's quantisers, by the workflow's own stages 1 and 2
    library     residual, product, finite-scalar and lookup-free quantisers of vector-quantize-pytorch
    questions   which trials answer which question, and what each is compared with
    measure     bytes, errors, diversity of tokens, and the judge's verdict
    answer      the program
    choose      how the settings of the library's quantisers were chosen, on training people alone
"""
