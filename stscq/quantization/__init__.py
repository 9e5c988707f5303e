"""Codebooks, the search for the nearest entries, the router, and their losses.

The method, in the paper's symbols, with the names of the code (axes below):

    image   B x 3 x H x W
      |         Tokenizer.encode                                              stscq.backbones
      v
    z_e     B x T x d
      |
      |-- CR (G_theta) -----------------.-- NN (G_naive) ---------------------------
      |   g = softmax(Router(z_e))      |   e_i = mean_j min_k dist(z_e^j, C_i^j[k])
      |   B x M           (router)      |   B x M          (search.group_errors)
      v                                 v
    group   B:  argmax_i g_i            or  argmin_i e_i
      |
      |         Codebooks.search: search_cr in the given group, search_nn in all (search.nearest)
      v         C_i^j: `weight[i, j]`, K x d, of the M x S x K x d codebooks     (codebooks)
    index   B x T:  argmin_k dist(z_e^j, C_i^j[k])
      |
      |         Assignment(group, index) is all that a file holds: log2 M + T log2 K bits an image  (stscq.codec)
      |         Codebooks.lookup
      v
    z_q     B x T x d:  C_i^j[index]
      |         Tokenizer.decode                                              stscq.backbones
      v
    image   B x 3 x H x W

Training: Codebooks.forward gives z_q and z as `Quantised`; `losses` pulls them together (codebook_loss,
commitment_loss) and, from g and the groups' errors (search.group_errors), trains the router (router_losses: L_ent,
L_dec and L_qua, Eq. 8 to 10). straight_through passes the decoder's gradient to the encoder; `initialise` starts
the global codebook, and every C_i^j from it (Eq. 12); `revival` moves idle entries.

Axes, here and everywhere: B images, M groups, T tokens, S codebooks a group (T when token-specific, 1 when shared),
K entries, d channels.
"""
