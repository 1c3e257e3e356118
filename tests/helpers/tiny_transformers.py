"""Folders of tiny networks of transformers with their processors, as ``save_pretrained`` writes them."""

import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    ViTConfig,
    ViTImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
)

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WORDS = ("red", "green", "blue", "dark", "light", "very", "a", "sky", "leaf", "rose", "the", "is", "of")
RATE = 1600


def vit(folder, classes=4):
    config = ViTConfig(**SMALL, image_size=16, patch_size=4, num_labels=classes)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return saved(AutoModelForImageClassification, config, folder)


def bert(folder, classes=4):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*specials, *WORDS])}
    BertTokenizer(vocab=vocabulary, model_max_length=24).save_pretrained(folder)
    config = BertConfig(**SMALL, vocab_size=len(vocabulary), max_position_embeddings=24, num_labels=classes)
    return saved(AutoModelForSequenceClassification, config, folder)


def wav2vec2(folder, classes=4):
    convolutions = {"conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 16}
    config = Wav2Vec2Config(**SMALL, **convolutions, **positions, num_labels=classes, mask_time_prob=0.0)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=False).save_pretrained(folder)
    return saved(AutoModelForAudioClassification, config, folder)


def ast(folder, classes=4):
    config = ASTConfig(
        **SMALL, patch_size=8, frequency_stride=8, time_stride=8, max_length=32, num_mel_bins=16, num_labels=classes
    )
    ASTFeatureExtractor(sampling_rate=RATE * 10, num_mel_bins=16, max_length=32).save_pretrained(folder)
    return saved(AutoModelForAudioClassification, config, folder)


def saved(auto, config, folder):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = auto.from_config(config).eval()
    network.save_pretrained(folder)
    return network
